"""Position-aware ListMLE: the likelihood of the right order, its first places first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder.losses.base import IDENTITY, Activation, CrossEncoderLoss, at_least_float32
from training.cross_encoder.losses.mean import Mean
from training.util.misc import fullname

LARGEST_EXPONENT = 127  # of float32
EPSILON = 1e-10  # a list of one document has the weight 0 / EPSILON


def plackett_luce(scores: Tensor, mask: Tensor) -> Tensor:
    """log P of each document being taken next: s_i - log sum_{j >= i} exp(s_j); 0 for padding.

    Shape (queries, documents), documents in the right order. Padding may stand anywhere and changes nothing.
    """
    scores = at_least_float32(scores).masked_fill(~mask, 0.0)
    present = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    rest = present.flip(1).logcumsumexp(dim=1).flip(1)
    return (scores - rest).masked_fill(~mask, 0.0)


def plist_mle(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    lambda_weight: Callable[[Tensor], Tensor] | None = None,
    respect_input_order: bool = True,
) -> Mean:
    """-sum over positions of weight * log Plackett-Luce, mean over queries (Lan et al. 2014; Xia et al. 2008).

    All of shape (queries, documents); `mask` is False for padding. The right order is that of the input, or that of
    descending labels, equal ones as in the input. `lambda_weight` gets the ordered mask; its weights are normalised
    to a sum of 1 per query, without the padding; None weighs each position with 1 (ListMLE).
    """
    if not respect_input_order:
        order = labels.float().masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
        scores, mask = scores.gather(1, order), mask.gather(1, order)
    log_probabilities = plackett_luce(scores, mask)
    if lambda_weight is not None:
        weights = lambda_weight(mask).to(log_probabilities).masked_fill(~mask, 0.0)
        log_probabilities = log_probabilities * (weights / (weights.sum(dim=1, keepdim=True) + EPSILON))
    return Mean(-log_probabilities.sum(), torch.tensor(len(scores), device=scores.device))


class PListMLELambdaWeight(nn.Module):
    """Weights of the positions: 2^(n - rank) - 1 for n documents, or what `rank_discount_fn(mask)` gives.

    Takes the mask, shape (queries, documents), and gives weights of its shape, 0 for padding. Above 127 documents the
    weights are scaled down by a power of two per query, which normalising undoes, since float32 ends at 2^128.
    """

    def __init__(self, rank_discount_fn: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.rank_discount_fn = rank_discount_fn

    def forward(self, mask: Tensor) -> Tensor:
        """The weights for a mask."""
        if self.rank_discount_fn is not None:
            return self.rank_discount_fn(mask)
        ranks, count = mask.cumsum(dim=1), mask.sum(dim=1, keepdim=True)
        scale = (count - LARGEST_EXPONENT).clamp(min=0)
        return (torch.exp2((count - ranks - scale).float()) - torch.exp2(-scale.float())) * mask


BY_POSITION = PListMLELambdaWeight()


class PListMLELoss(CrossEncoderLoss):
    """`plist_mle` over activation(scores).

    Inputs: queries and lists of documents, best first unless `respect_input_order` is False; labels: a list for each
    query, which is read only then.
    """

    columns = "list"
    labels = "list"
    citation = """
@inproceedings{lan2014position,
  title={Position-Aware ListMLE: A Sequential Learning Process for Ranking},
  author={Lan, Yanyan and Zhu, Yadong and Guo, Jiafeng and Niu, Shuzi and Cheng, Xueqi},
  booktitle={UAI},
  volume={14},
  pages={449--458},
  year={2014}
}
"""

    def __init__(
        self,
        model: Any,
        lambda_weight: nn.Module | None = BY_POSITION,
        activation_fn: Activation | None = IDENTITY,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
        *,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size=mini_batch_size, mini_batch_tokens=mini_batch_tokens)
        self.lambda_weight = lambda_weight
        self.respect_input_order = respect_input_order

    def forward(
        self, inputs: Sequence[Any], labels: Sequence[Tensor], prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError if lists and labels do not fit together."""
        scores, gold, mask = self.activated_lists(inputs, labels, prompt, task)
        return self.joined(plist_mle(scores, gold, mask, self.lambda_weight, self.respect_input_order))

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {
            "lambda_weight": None if self.lambda_weight is None else fullname(self.lambda_weight),
            "activation_fn": fullname(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
            "respect_input_order": self.respect_input_order,
        }
