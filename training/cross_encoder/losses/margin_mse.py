"""Margin MSE: by how much the positive beats each negative, taught by a better model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder.losses.base import IDENTITY, Activation, CrossEncoderLoss, at_least_float32, check_lengths
from training.cross_encoder.losses.mean import Mean
from training.cross_encoder.losses.mse import HOFSTAETTER_2021, mse
from training.util.misc import fullname


def margin_mse(scores: Tensor, labels: Tensor, mask: Tensor, reduction: str = "mean") -> Mean | Tensor:
    """((s+ - s-_i) - gold margin_i)^2, mean over the negatives (Hofstätter et al. 2021, arXiv 2010.02666).

    Shapes: scores and mask (rows, 1 + negatives), the positive first; labels (rows, negatives), the gold margins.
    `mask` is False for padding; a row whose positive is masked does not count. `reduction`: see `reduced`.
    """
    return mse(margins(at_least_float32(scores)), labels, mask[:, :1] & mask[:, 1:], reduction)


def margins(scores: Tensor) -> Tensor:
    """s+ - s-_i: scores of shape (rows, 1 + negatives), the positive first, give (rows, negatives)."""
    return scores[:, :1] - scores[:, 1:]


def gold_margins(labels: Any, rows: int, negatives: int) -> Tensor:
    """The taught margins, shape (rows, negatives), from margins or from scores (one more per row).

    ValueError if `labels`, a tensor or a list of tensors, has another shape than (rows,) with one negative,
    (rows, negatives) or (rows, 1 + negatives).
    """
    gold = torch.stack(list(labels)) if is_stackable(labels) else labels
    if isinstance(gold, Tensor):
        if gold.shape == (rows, negatives + 1):
            return margins(gold)
        if gold.shape == (rows,):
            gold = gold.unsqueeze(1)
        if gold.shape == (rows, negatives):
            return gold
    found = tuple(gold.shape) if isinstance(gold, Tensor) else f"of {type(labels).__name__} with unequal lengths"
    raise ValueError(
        f"Labels shape {found} does not match expected shape {(rows, negatives)}. Ensure that your dataset labels or "
        "scores are 1) one margin per negative (score of the positive minus score of the negative), or 2) the scores "
        "of the positive and of each negative."
    )


def is_stackable(labels: Any) -> bool:
    """True for a list of tensors of one shape."""
    return isinstance(labels, list) and len({tuple(row.shape) for row in labels if isinstance(row, Tensor)}) == 1


class MarginMSELoss(CrossEncoderLoss):
    """`margin_mse` over activation(scores).

    Inputs: query, positive, one or more negatives; labels: a margin per row (one negative), a margin per negative, or
    the scores of positive and negatives. Further keyword arguments are those of `torch.nn.MSELoss`: reduction.
    """

    columns = "tuple"
    labels = "margin"
    citation = HOFSTAETTER_2021

    def __init__(
        self,
        model: Any,
        activation_fn: Activation | None = IDENTITY,
        *,
        mini_batch_tokens: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_tokens=mini_batch_tokens)
        self.loss_fct = nn.MSELoss(**kwargs)

    def forward(
        self, inputs: Sequence[Sequence[str]], labels: Any, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError for fewer than three columns, unequal ones or labels of another shape."""
        if len(inputs) < 3:
            raise ValueError(
                f"MarginMSELoss expects at least three non-label columns (query, positive, negative), but got "
                f"{len(inputs)} columns: mine negatives, or take MSELoss for scores of single pairs"
            )
        check_lengths(type(self).__name__, inputs)
        queries, *candidates = inputs
        gold = gold_margins(labels, len(queries), len(candidates) - 1)
        pairs = [(query, text) for query, *texts in zip(queries, *candidates, strict=True) for text in texts]
        scores = self.activated(pairs, prompt, task).reshape(len(queries), len(candidates))
        mask = torch.ones_like(scores, dtype=torch.bool)
        return self.joined(margin_mse(scores, gold.detach(), mask, self.loss_fct.reduction))

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {"activation_fn": fullname(self.activation_fn)}
