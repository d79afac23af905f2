"""The losses of a cross-encoder: each is a pure function of (scores, labels, mask) with a thin module around it."""

from __future__ import annotations

from training.lazy import attach

_MODULES = {
    "adr_mse": ["ADRMSELoss"],
    "base": ["CrossEncoderLoss"],
    "binary_cross_entropy": ["BinaryCrossEntropyLoss"],
    "cached_multiple_negatives_ranking": ["CachedMultipleNegativesRankingLoss"],
    "cross_entropy": ["CrossEntropyLoss"],
    "lambda_loss": ["LambdaLoss"],
    "lambda_schemes": [
        "BaseWeightingScheme",
        "LambdaRankScheme",
        "NDCGLoss1Scheme",
        "NDCGLoss2PPScheme",
        "NDCGLoss2Scheme",
        "NoWeightingScheme",
    ],
    "list_mle": ["ListMLELoss"],
    "list_net": ["ListNetLoss"],
    "margin_mse": ["MarginMSELoss"],
    "mse": ["MSELoss"],
    "multiple_negatives_ranking": ["MultipleNegativesRankingLoss"],
    "plist_mle": ["PListMLELambdaWeight", "PListMLELoss"],
    "rank_net": ["RankNetLoss"],
}
_NAMES = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}

__getattr__, __dir__ = attach(__name__, _NAMES)
__all__ = list(_NAMES)
