"""ADR-MSE: the rank that each document should have, against a smooth rank of its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.cross_encoder.losses.base import IDENTITY, Activation, CrossEncoderLoss, at_least_float32
from training.cross_encoder.losses.mean import Mean
from training.util.misc import fullname


def adr_mse(scores: Tensor, labels: Tensor, mask: Tensor, alpha: float = 1.0) -> Mean:
    """(rank - soft rank)^2 / log2(1 + rank), mean over all documents of the batch (Schlatt et al. 2025).

    All of shape (queries, documents); `mask` is False for padding.
    """
    ranks = true_ranks(labels, mask)
    error = (ranks - soft_ranks(scores, mask, alpha)).square() / torch.log2(1.0 + ranks)
    return Mean(error.masked_fill(~mask, 0.0).sum(), mask.sum())


def soft_ranks(scores: Tensor, mask: Tensor, alpha: float = 1.0) -> Tensor:
    """1 + sum_{j != i} sigmoid(alpha (s_j - s_i)): differentiable ranks, 1 for the highest score."""
    scores = at_least_float32(scores).masked_fill(~mask, 0.0)
    beaten_by = torch.sigmoid(alpha * (scores[:, None, :] - scores[:, :, None]))
    others = mask[:, None, :] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return 1.0 + (beaten_by * others).sum(dim=2)


def true_ranks(labels: Tensor, mask: Tensor) -> Tensor:
    """Ranks by descending label; documents of equal label share the mean of their ranks."""
    labels = at_least_float32(labels)
    higher = (labels[:, None, :] > labels[:, :, None]) & mask[:, None, :]
    equal = (labels[:, None, :] == labels[:, :, None]) & mask[:, None, :]
    return higher.sum(dim=2) + (equal.sum(dim=2) + 1.0) / 2.0


class ADRMSELoss(CrossEncoderLoss):
    """`adr_mse` over activation(scores). Inputs: queries and lists of documents; labels: a list for each query.

    A higher `alpha` brings the soft rank nearer to the hard one and weakens the gradient of clear cases.
    """

    columns = "list"
    labels = "list"
    citation = """
@inproceedings{schlatt2025rankdistillm,
    title={Rank-DistiLLM: Closing the Effectiveness Gap Between Cross-Encoders and LLMs for Passage Re-ranking},
    author={Schlatt, Ferdinand and Fröbe, Maik and Scells, Harrisen and Zhuang, Shengyao and Koopman, Bevan and
        Zuccon, Guido and Stein, Benno and Potthast, Martin and Hagen, Matthias},
    booktitle={Advances in Information Retrieval (ECIR 2025)},
    year={2025},
    doi={10.1007/978-3-031-88714-7_31},
}
"""

    def __init__(
        self,
        model: Any,
        alpha: float = 1.0,
        activation_fn: Activation | None = IDENTITY,
        mini_batch_size: int | None = None,
        *,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size=mini_batch_size, mini_batch_tokens=mini_batch_tokens)
        self.alpha = alpha

    def forward(
        self, inputs: Sequence[Any], labels: Sequence[Tensor], prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError if lists and labels do not fit together."""
        return self.joined(adr_mse(*self.activated_lists(inputs, labels, prompt, task), self.alpha))

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {
            "alpha": self.alpha,
            "activation_fn": fullname(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
        }
