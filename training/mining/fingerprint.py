"""What identifies a model and a list of texts by content, so that a cache never answers for another one."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import pyarrow.compute as pc

from training.mining.positives import Texts, chunks_of

SETTINGS = (
    "prompts",
    "default_prompt_name",
    "truncate_dim",
    "max_seq_length",
    "num_labels",
    "activation_fn",
)
"""Attributes that change what a model gives for a text and are not among its weights."""


def model_digest(model: Any) -> str:
    """Hexadecimal SHA-256 of weights, tokenizer, modules and settings.

    A model with a method `fingerprint` says the first three itself. ValueError for one with neither that method nor
    weights to read.
    """
    from training.sentence_transformer.fingerprint import tokenizer_bytes

    hashed = hashlib.sha256()
    own = getattr(model, "fingerprint", None)
    if callable(own):
        hashed.update(str(own()).encode())
    else:
        _read_weights(model, hashed)
        if getattr(model, "tokenizer", None) is not None:
            hashed.update(tokenizer_bytes(model.tokenizer))
    for name in SETTINGS:
        hashed.update(_without_addresses(f"{name}={getattr(model, name, None)!r}").encode())
    return hashed.hexdigest()


def texts_digest(texts: Texts) -> str:
    """Hexadecimal SHA-256 of the texts in their order, however they are cut into chunks."""
    lengths, content = hashlib.sha256(), hashlib.sha256()
    for strings in chunks_of(texts):
        lengths.update(pc.binary_length(strings).to_numpy(zero_copy_only=False).astype(np.int64).tobytes())
        _, offsets, data = strings.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64)[[strings.offset, strings.offset + len(strings)]]
        if data is not None:
            content.update(memoryview(data)[ends[0] : ends[1]])
    return hashlib.sha256(lengths.digest() + content.digest()).hexdigest()


def _read_weights(model: Any, hashed: Any) -> None:
    import torch

    from training.sentence_transformer.fingerprint import tensor_bytes

    weights = model.state_dict() if isinstance(model, torch.nn.Module) else {}
    if not weights:
        raise ValueError(
            f"{type(model).__name__} has no weights to tell it from other models, so nothing can be cached for it;"
            " leave the cache out, or give the class a method fingerprint() that returns a string"
        )
    for name, value in sorted(weights.items()):
        hashed.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        hashed.update(tensor_bytes(value))
    hashed.update(_without_addresses(repr(model)).encode())


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)
