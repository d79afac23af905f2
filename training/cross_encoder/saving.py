"""A directory that this package, sentence-transformers and plain transformers can all load."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn

from app.model.manifest import MANIFEST
from training.cross_encoder.activation import dotted_path
from training.cross_encoder.fp32 import theirs
from training.cross_encoder.modules.files import save_tail
from training.cross_encoder.modules.setup import CLASSIFICATION, MODEL_TYPE
from training.cross_encoder.peft_adapters import carries_adapter

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
TRANSFORMER_CLASS = "sentence_transformers.base.modules.transformer.Transformer"


def save(model: CrossEncoder, path: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Writes weights, configuration, tokenizer and the library's own files into `path`, not the card.

    `weights` are those of the whole `model`, by name, where it holds only a part of them itself.
    """
    path.mkdir(parents=True, exist_ok=True)
    # A manifest from an earlier model here would vouch, by digest, for files that are replaced now.
    (path / MANIFEST).unlink(missing_ok=True)
    if model.model is not None and not carries_adapter(model.model):
        for name in ADAPTER_FILES:  # an adapter saved here before would be put on this model when it is loaded
            (path / name).unlink(missing_ok=True)
    if model.graph is None:
        model.model.save_pretrained(str(path), state_dict=None if weights is None else inside("model", weights))
    else:
        model.config.save_pretrained(str(path))
        model.graph.save(path)
    model.tokenizer.save_pretrained(str(path))
    first = {"idx": 0, "name": "0", "path": "", "type": TRANSFORMER_CLASS}
    tail = model.tail
    if weights is not None:
        tail = {name: with_weights(module, inside(name, weights)) for name, module in tail.items()}
    write_json(path / "modules.json", [first, *save_tail(tail, path)])
    write_json(path / "sentence_bert_config.json", transformer_settings(model))
    write_json(path / "config_sentence_transformers.json", library_settings(model))


def inside(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the module `name`, by their names in it."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


def with_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `module` that holds `weights` in place of its own."""
    own = module.state_dict(keep_vars=True)
    return copy.deepcopy(module, {id(own[name]): nn.Parameter(tensor) for name, tensor in weights.items()})


def library_settings(model: CrossEncoder) -> dict[str, Any]:
    """What the library keeps about the model as a whole."""
    settings: dict[str, Any] = {
        "__version__": {
            "crossrank": version("crossrank"),
            "pytorch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "activation_fn": dotted_path(model.activation_fn),
        "default_prompt_name": model.default_prompt_name,
        "model_type": MODEL_TYPE,
        "prompts": model.prompts,
    }
    if model.keep_in_fp32_modules:
        settings["keep_in_fp32_modules"] = [theirs(name) for name in model.keep_in_fp32_modules]
    return settings


def transformer_settings(model: Any) -> dict[str, Any]:
    """What the library keeps about the transformer of a cross-encoder, or about the module that holds it."""
    extra: dict[str, Any] = {"processing_kwargs": model.processing_kwargs} if model.processing_kwargs else {}
    if model.setup.task == CLASSIFICATION and model.model is not None and carries_adapter(model.model):
        # An adapter's directory names its base, which may have no head, or one of another size; a config.json here
        # would be taken for that of a whole model.
        extra["config_kwargs"] = {"num_labels": int(model.config.num_labels)}
    return {**model.setup.settings(), **extra}


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with sorted keys, in UTF-8."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
