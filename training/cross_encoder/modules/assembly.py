"""A cross-encoder from modules that the caller made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from training.cross_encoder.loading import Loaded
from training.cross_encoder.modules.setup import FEATURES, GENERATION, setup_for


def assemble(modules: Sequence[nn.Module] | Mapping[str, nn.Module], max_length: int | None = None) -> Loaded:
    """The first module's transformer and tokenizer, and the others after it, by their names or places.

    Raises ValueError if there is none, or the first one holds no transformer.
    """
    named = dict(modules) if isinstance(modules, Mapping) else {str(i): one for i, one in enumerate(modules)}
    if not named:
        raise ValueError("an empty list of modules was given to CrossEncoder; give at least one")
    first, *names = named
    transformer: Any = named[first]
    model: Any = getattr(transformer, "model", None)
    tokenizer: Any = getattr(transformer, "tokenizer", None)
    if not isinstance(getattr(transformer, "model", None), nn.Module) or tokenizer is None:
        raise ValueError(f"the first of the modules must be a Transformer, not {type(transformer).__name__}")
    setup = getattr(transformer, "setup", None)
    if setup is None:
        setup = setup_for(FEATURES).with_template_of(tokenizer, model.config.model_type)
    if setup.task == GENERATION:
        tokenizer.padding_side = "left"
    if max_length is not None:
        tokenizer.model_max_length = max_length
    tail = {name: checked(name, named[name]) for name in names}
    fresh = getattr(transformer, "fresh_parameters", ())
    processing = getattr(transformer, "processing_kwargs", None) or {}
    return Loaded(model, tokenizer, model.config, fresh, setup, tail, processing)


def checked(name: str, module: nn.Module) -> nn.Module:
    """The module, if a cross-encoder can use it. Raises ValueError for a name that is taken, and for a pooling that
    leaves the prompt out: a prompt is part of the first text here."""
    if hasattr(nn.Module, name) or name == "model":
        raise ValueError(f"a module cannot have the name {name!r}; number them, or choose others")
    if getattr(module, "include_prompt", True) is False:
        raise ValueError("Pooling(include_prompt=False) is not supported in a cross-encoder: the prompt is scored too")
    return module
