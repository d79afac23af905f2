"""The parts that a `SentenceTransformer` is made of. `training.models` is their older address."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        name: f"{__name__}.{module}"
        for name, module in {
            "Dense": "dense",
            "Dropout": "dropout",
            "LayerNorm": "layer_norm",
            "Module": "module",
            "Normalize": "normalize",
            "Pooling": "pooling",
            "StaticEmbedding": "static_embedding",
            "Transformer": "transformer",
        }.items()
    },
)
