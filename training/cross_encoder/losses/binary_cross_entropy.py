"""Binary cross-entropy: yes or no for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.cross_encoder.losses.base import (
    IDENTITY,
    Activation,
    CrossEncoderLoss,
    at_least_float32,
    check_pairs,
    one_label_per_pair,
)
from training.cross_encoder.losses.mean import Mean, reduced
from training.util.misc import fullname


def binary_cross_entropy(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    pos_weight: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Mean | Tensor:
    """-weight (pos_weight y log p + (1 - y) log(1 - p)) with p = sigmoid(score), mean over the pairs.

    All of shape (pairs,); `mask` is False for a pair that does not count. The weights are numbers or of that shape too;
    the mean divides by the pairs, whatever `weight` is. `reduction`: see `reduced`.
    """
    scores = at_least_float32(scores).masked_fill(~mask, 0.0)
    labels = labels.to(scores).masked_fill(~mask, 0.0)
    weights = [None if each is None else each.to(scores.device) for each in (weight, pos_weight)]
    losses = binary_cross_entropy_with_logits(scores, labels, weights[0], pos_weight=weights[1], reduction="none")
    return reduced(losses.masked_fill(~mask, 0.0), mask.sum(), reduction)


class BinaryCrossEntropyLoss(CrossEncoderLoss):
    """`binary_cross_entropy` over activation(scores).

    Inputs: two columns of texts; labels: 0, 1 or a probability, shape (rows,). Further keyword arguments are those of
    `torch.nn.BCEWithLogitsLoss`: weight, reduction.
    """

    columns = "pair"
    labels = "scalar"

    def __init__(
        self,
        model: Any,
        activation_fn: Activation | None = IDENTITY,
        pos_weight: Tensor | float | None = None,
        *,
        mini_batch_tokens: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_tokens=mini_batch_tokens)
        self.pos_weight = None if pos_weight is None else torch.as_tensor(pos_weight)
        self.bce_with_logits_loss = nn.BCEWithLogitsLoss(pos_weight=self.pos_weight, **kwargs)

    def forward(
        self, inputs: Sequence[Sequence[str]], labels: Tensor, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError for other than two columns or one label per row."""
        check_pairs(type(self).__name__, inputs)
        labels = one_label_per_pair(type(self).__name__, labels, len(inputs[0]))
        scores = self.activated(list(zip(*inputs, strict=True)), prompt, task)
        options, mask = self.bce_with_logits_loss, torch.ones_like(scores, dtype=torch.bool)
        return self.joined(
            binary_cross_entropy(scores, labels.detach(), mask, options.pos_weight, options.weight, options.reduction)
        )

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        weight = None if self.pos_weight is None else self.pos_weight.tolist()
        return {"activation_fn": fullname(self.activation_fn), "pos_weight": weight}
