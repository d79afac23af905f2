"""Binary cross-entropy: yes or no for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder.losses.base import (
    IDENTITY,
    Activation,
    CrossEncoderLoss,
    check_pairs,
    one_label_per_pair,
)
from training.util.misc import fullname


class BinaryCrossEntropyLoss(CrossEncoderLoss):
    """Mean of -(w y log p + (1 - y) log(1 - p)) with p = sigmoid(activation(score)) and w = `pos_weight`.

    Inputs: two columns of texts; labels: 0, 1 or a probability, shape (rows,). Further keyword arguments go to
    `torch.nn.BCEWithLogitsLoss`, which is the function of scores and labels here.
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
        reduction = self.bce_with_logits_loss.reduction
        if not len(scores):
            return self.joined_mean(scores.sum(), 0, reduction)  # the other processes wait for it
        value = self.bce_with_logits_loss.to(scores.device)(scores, labels.detach().to(scores))
        return self.joined_mean(value, len(scores), reduction)

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        weight = None if self.pos_weight is None else self.pos_weight.tolist()
        return {"activation_fn": fullname(self.activation_fn), "pos_weight": weight}
