"""Cross-encoders: the model, its trainer, losses and evaluators."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "CrossEncoder": "training.cross_encoder.model",
        "CrossEncoderDataCollator": "training.cross_encoder.data_collator",
        "CrossEncoderModelCardData": "training.cross_encoder.model_card",
        "CrossEncoderTrainer": "training.cross_encoder.trainer",
        "CrossEncoderTrainingArguments": "training.cross_encoder.training_args",
        "evaluation": "training.cross_encoder.evaluation",
        "losses": "training.cross_encoder.losses",
        "modules": "training.cross_encoder.modules",
    },
)
