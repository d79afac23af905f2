"""Embedding models: `SentenceTransformer` and its modules, for inference."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "SentenceTransformer": "training.sentence_transformer.model",
        "modules": "training.sentence_transformer.modules",
    },
)
