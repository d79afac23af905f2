"""The older evaluators under the module path that they have in sentence-transformers."""

from __future__ import annotations

from training.cross_encoder.evaluation.ce_binary_accuracy import CEBinaryAccuracyEvaluator
from training.cross_encoder.evaluation.ce_binary_classification import CEBinaryClassificationEvaluator
from training.cross_encoder.evaluation.ce_correlation import CECorrelationEvaluator
from training.cross_encoder.evaluation.ce_f1 import CEF1Evaluator
from training.cross_encoder.evaluation.ce_reranking import CERerankingEvaluator
from training.cross_encoder.evaluation.ce_softmax_accuracy import CESoftmaxAccuracyEvaluator

__all__ = [
    "CEBinaryAccuracyEvaluator",
    "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator",
    "CEF1Evaluator",
    "CERerankingEvaluator",
    "CESoftmaxAccuracyEvaluator",
]
