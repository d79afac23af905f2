"""Modules by the paths under which sentence-transformers saves them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

HERE = {
    "Dense": "training.sentence_transformer.modules.dense",
    "Dropout": "training.sentence_transformer.modules.dropout",
    "LayerNorm": "training.sentence_transformer.modules.layer_norm",
    "LogitScore": "training.cross_encoder.modules.logit_score",
    "Normalize": "training.sentence_transformer.modules.normalize",
    "Pooling": "training.sentence_transformer.modules.pooling",
}
THEIRS = {
    "Dense": "sentence_transformers.base.modules.dense",
    "Dropout": "sentence_transformers.sentence_transformer.modules.dropout",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm",
    "LogitScore": "sentence_transformers.cross_encoder.modules.logit_score",
    "Normalize": "sentence_transformers.base.modules.normalize",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling",
}
PACKAGES = ("sentence_transformers.", "training.")


def class_of(path: str) -> Any:
    """The class that `path` in a modules.json means, as any release writes it. Raises ValueError for others.

    Its last part decides: releases have moved the classes, never renamed them. Nothing is imported by a saved path.
    """
    name = path.rpartition(".")[2]
    if not path.startswith(PACKAGES) or name not in HERE:
        raise ValueError(f"the module {path!r} is not supported; those that are: Transformer, {', '.join(HERE)}")
    return getattr(import_module(HERE[name]), name)


def saved_type(module: Any) -> str:
    """The path under which `module` is saved: that of sentence-transformers, if it is one of the known modules."""
    kind = type(module)
    home = THEIRS[kind.__name__] if HERE.get(kind.__name__) == kind.__module__ else kind.__module__
    return f"{home}.{kind.__qualname__}"
