"""Evaluators of any model; those of cross-encoders are in `training.cross_encoder.evaluation`."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "BaseEvaluator": "training.evaluation.evaluator",
        "SentenceEvaluator": "training.evaluation.evaluator",
        "SequentialEvaluator": "training.evaluation.sequential",
        "SimilarityFunction": "training.util.similarity",
        "TripletEvaluator": "training.evaluation.triplet",
    },
)
