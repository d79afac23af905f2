"""A digest that two models share only if they give the same embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

NOT_NUMBERS = ("_name_or_path", "transformers_version")


def digest_of(modules: Mapping[str, nn.Module], settings: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal over kinds, settings, tokenizers and weights of `modules`, and over `settings`."""
    digest = hashlib.sha256(_json(settings))
    for name, module in modules.items():
        describe: Any = getattr(module, "get_config_dict", dict)
        config = describe()
        digest.update(_json([name, type(module).__qualname__, config]))
        if hasattr(module, "config"):
            digest.update(_json(architecture(module.config)))
        tokenizer = getattr(module, "tokenizer", None)
        if tokenizer is not None:
            digest.update(tokenizer_bytes(tokenizer))
        for key, value in module.state_dict().items():
            digest.update(_json([key, str(value.dtype), list(value.shape)]))
            digest.update(tensor_bytes(value))
    return digest.hexdigest()


def architecture(config: Any) -> dict[str, Any]:
    """A transformers configuration without what says nothing about the numbers."""
    return {key: value for key, value in config.to_dict().items() if key not in NOT_NUMBERS}


def tensor_bytes(value: Tensor) -> memoryview:
    """The numbers of a tensor as they lie in memory, of any type."""
    flat = value.detach().cpu().contiguous().reshape(-1)
    array: Any = flat.view(torch.uint8).numpy()
    return memoryview(array)


def tokenizer_bytes(tokenizer: Any) -> bytes:
    """All that decides on a tokenizer's ids. Slow ones are saved for it."""
    if isinstance(tokenizer, Tokenizer):
        return bytes(tokenizer.to_str(), "utf-8")
    limit = [getattr(tokenizer, name) for name in ("model_max_length", "truncation_side", "padding_side")]
    if tokenizer.is_fast:
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        # Those two are what the last call asked for, and nothing of the tokenizer's own.
        return _json([{**state, "truncation": None, "padding": None}, limit])
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return b"".join(path.read_bytes() for path in files) + _json(limit)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode() + b"\0"
