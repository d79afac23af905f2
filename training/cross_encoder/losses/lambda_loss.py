"""The Lambda loss: pairs of documents, weighted by what their order means for nDCG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.cross_encoder.losses.base import IDENTITY, Activation, CrossEncoderLoss, at_least_float32
from training.cross_encoder.losses.lambda_schemes import (
    BaseWeightingScheme,
    LambdaRankScheme,
    NDCGLoss1Scheme,
    NDCGLoss2PPScheme,
    NDCGLoss2Scheme,
    NoWeightingScheme,
)
from training.cross_encoder.losses.mean import Mean
from training.util.misc import fullname

__all__ = [
    "BaseWeightingScheme",
    "LambdaLoss",
    "LambdaRankScheme",
    "NDCGLoss1Scheme",
    "NDCGLoss2PPScheme",
    "NDCGLoss2Scheme",
    "NoWeightingScheme",
    "lambda_loss",
]

Scheme = Callable[[Tensor, Tensor, Tensor], Tensor]
Logarithm = Literal["natural", "binary"]
NDCG_LOSS2PP = NDCGLoss2PPScheme()
LARGEST_LABEL = 100  # 2^label is scaled down above it: float32 ends at 2^128


def lambda_loss(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    weighting_scheme: Scheme = NDCG_LOSS2PP,
    k: int | None = None,
    sigma: float = 1.0,
    eps: float = 1e-10,
    reduction_log: Logarithm = "binary",
) -> Mean:
    """-weight_ij log sigmoid(sigma (s_i - s_j)), mean over the pairs with label_i > label_j (Wang et al. 2018).

    All of shape (queries, documents); `mask` is False for padding. With NDCGLoss1 all pairs count. `k` keeps the
    pairs of which the model ranks at least one document among its first k, and cuts maxDCG there. Ranks are those of
    the model, equal scores in the order of the input. Negative labels have no gain.
    """
    scores = at_least_float32(scores)
    order = scores.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    scores, labels, mask = (values.gather(1, order) for values in (scores, labels.to(scores), mask))
    scores = scores.masked_fill(~mask, 0.0)
    kept = kept_pairs(labels, mask, k, equal_labels=isinstance(weighting_scheme, NDCGLoss1Scheme))
    clamped = labels.clamp(min=0.0).masked_fill(~mask, 0.0)
    discount = torch.log2(torch.arange(2, scores.shape[1] + 2, device=scores.device, dtype=scores.dtype))[None]
    weights = weighting_scheme(gains(clamped, discount, k, eps), discount, clamped)
    losses = -logsigmoid(sigma * (scores[:, :, None] - scores[:, None, :])) * weights.where(kept, 0.0)
    return Mean(losses.sum() / (math.log(2) if reduction_log == "binary" else 1.0), kept.sum())


def kept_pairs(labels: Tensor, mask: Tensor, k: int | None, equal_labels: bool) -> Tensor:
    """Which pairs (i, j) of documents in the model's order count: shape (queries, n, n)."""
    kept = mask[:, :, None] & mask[:, None, :]
    if not equal_labels:
        kept = kept & (labels[:, :, None] > labels[:, None, :])
    top = torch.arange(labels.shape[1], device=labels.device) < (k or labels.shape[1])
    return kept & (top[:, None] | top)


def gains(labels: Tensor, discount: Tensor, k: int | None, eps: float) -> Tensor:
    """(2^label - 1) / maxDCG@k: shape (queries, n), labels of at least 0."""
    # Scaled by one power of two per query, numerator and denominator alike, so that large labels do not overflow.
    scale = (labels.amax(dim=1, keepdim=True) - LARGEST_LABEL).clamp(min=0.0)
    raw = torch.exp2(labels - scale) - torch.exp2(-scale)
    best = raw.sort(dim=1, descending=True).values / discount
    return raw / best[:, : k or None].sum(dim=1, keepdim=True).clamp(min=eps)


class LambdaLoss(CrossEncoderLoss):
    """`lambda_loss` over activation(scores). Inputs: queries and lists of documents; labels: a list for each query."""

    columns = "list"
    labels = "list"
    citation = """
@inproceedings{wang2018lambdaloss,
  title={The LambdaLoss Framework for Ranking Metric Optimization},
  author={Wang, Xuanhui and Li, Cheng and Golbandi, Nadav and Bendersky, Michael and Najork, Marc},
  booktitle={Proceedings of the 27th ACM international conference on information and knowledge management},
  pages={1313--1322},
  year={2018}
}
"""

    def __init__(
        self,
        model: Any,
        weighting_scheme: BaseWeightingScheme | None = NDCG_LOSS2PP,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Logarithm = "binary",
        activation_fn: Activation | None = IDENTITY,
        mini_batch_size: int | None = None,
        *,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size=mini_batch_size, mini_batch_tokens=mini_batch_tokens)
        if reduction_log not in get_args(Logarithm):
            raise ValueError(f"reduction_log must be one of {get_args(Logarithm)}, but is {reduction_log!r}")
        self.weighting_scheme = NoWeightingScheme() if weighting_scheme is None else weighting_scheme
        self.k = k
        self.sigma = sigma
        self.eps = eps
        self.reduction_log: Logarithm = reduction_log

    def forward(
        self, inputs: Sequence[Any], labels: Sequence[Tensor], prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError if lists and labels do not fit together."""
        scores, gold, mask = self.activated_lists(inputs, labels, prompt, task)
        return self.joined(
            lambda_loss(scores, gold, mask, self.weighting_scheme, self.k, self.sigma, self.eps, self.reduction_log)
        )

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {
            "weighting_scheme": fullname(self.weighting_scheme),
            "k": self.k,
            "sigma": self.sigma,
            "eps": self.eps,
            "reduction_log": self.reduction_log,
            "activation_fn": fullname(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
        }
