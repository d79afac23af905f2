"""Evaluators of cross-encoders. Those named `CE...` are the older ones, which return a single number."""

from __future__ import annotations

from training.lazy import attach

_HERE = "training.cross_encoder.evaluation"

__getattr__, __dir__ = attach(
    __name__,
    {
        "CEBinaryAccuracyEvaluator": f"{_HERE}.ce_binary_accuracy",
        "CEBinaryClassificationEvaluator": f"{_HERE}.ce_binary_classification",
        "CECorrelationEvaluator": f"{_HERE}.ce_correlation",
        "CEF1Evaluator": f"{_HERE}.ce_f1",
        "CERerankingEvaluator": f"{_HERE}.ce_reranking",
        "CESoftmaxAccuracyEvaluator": f"{_HERE}.ce_softmax_accuracy",
        "CrossEncoderClassificationEvaluator": f"{_HERE}.classification",
        "CrossEncoderCorrelationEvaluator": f"{_HERE}.correlation",
        "CrossEncoderNanoBEIREvaluator": f"{_HERE}.nano_beir",
        "CrossEncoderRerankingEvaluator": f"{_HERE}.reranking",
    },
)
