"""How much each pair of documents counts in the Lambda loss (Wang et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class BaseWeightingScheme(nn.Module):
    """Weights of the pairs (i, j) of documents in the model's order, in a shape that spreads to (queries, n, n).

    `gain`, shape (queries, n), is (2^label - 1) / maxDCG of the document at each rank and 0 for padding, which comes
    last; `discount`, shape (1, n), is log2(1 + rank); `true_sorted`, shape (queries, n), are the labels at each rank.
    """

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """The weights."""
        raise NotImplementedError(f"{type(self).__name__} needs forward(gain, discount, true_sorted)")


class NoWeightingScheme(BaseWeightingScheme):
    """1 for every pair: RankNet."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """1, shape ()."""
        return torch.ones((), device=gain.device)


class NDCGLoss1Scheme(BaseWeightingScheme):
    """G_i / D_i: a bound on nDCG itself. Every pair counts, also those of equal labels."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Shape (queries, n, 1)."""
        return (gain / discount)[:, :, None]


class NDCGLoss2Scheme(BaseWeightingScheme):
    """|1/D(d) - 1/D(d+1)| |G_i - G_j| with d = |i - j|: a tighter bound."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Shape (queries, n, n)."""
        inverse = discount[0].reciprocal()
        by_distance = pad((inverse[:-1] - inverse[1:]).abs(), (1, 0))  # distance 0 has the weight 0
        ranks = torch.arange(len(inverse), device=gain.device)
        return by_distance[(ranks[:, None] - ranks).abs()] * differences(gain)


class LambdaRankScheme(BaseWeightingScheme):
    """|1/D_i - 1/D_j| |G_i - G_j|: by how much nDCG changes when the two documents change places."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Shape (queries, n, n)."""
        return differences(discount.reciprocal()) * differences(gain)


class NDCGLoss2PPScheme(BaseWeightingScheme):
    """`mu` * NDCGLoss2 + LambdaRank, known as NDCG-Loss2++."""

    def __init__(self, mu: float = 10.0) -> None:
        super().__init__()
        self.mu = mu
        self.ndcg_loss2 = NDCGLoss2Scheme()
        self.lambda_rank = LambdaRankScheme()

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Shape (queries, n, n)."""
        bound: Tensor = self.ndcg_loss2(gain, discount, true_sorted)
        swap: Tensor = self.lambda_rank(gain, discount, true_sorted)
        return self.mu * bound + swap


def differences(values: Tensor) -> Tensor:
    """|v_i - v_j|: shape (rows, n) gives (rows, n, n)."""
    return (values[:, :, None] - values[:, None, :]).abs()
