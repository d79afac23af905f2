"""The modules that a cross-encoder can be built of, beside a plain sequence classifier."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "Dense": "training.sentence_transformer.modules.dense",
        "Dropout": "training.sentence_transformer.modules.dropout",
        "InputModule": "training.cross_encoder.modules.input_module",
        "LayerNorm": "training.sentence_transformer.modules.layer_norm",
        "LogitScore": "training.cross_encoder.modules.logit_score",
        "Module": "training.sentence_transformer.modules.module",
        "Normalize": "training.sentence_transformer.modules.normalize",
        "Pooling": "training.sentence_transformer.modules.pooling",
        "Transformer": "training.cross_encoder.modules.transformer",
    },
)
