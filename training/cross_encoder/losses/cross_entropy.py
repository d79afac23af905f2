"""Cross-entropy: one of several classes for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder.losses.base import IDENTITY, Activation, CrossEncoderLoss, check_pairs
from training.util.misc import fullname


class CrossEntropyLoss(CrossEncoderLoss):
    """Mean of -log softmax(activation(logits))[class].

    Inputs: two columns of texts; labels: class ids, shape (rows,), or a distribution over the classes, shape
    (rows, classes). Further keyword arguments go to `torch.nn.CrossEntropyLoss`, which is the function of scores and
    labels here.
    """

    columns = "pair"
    labels = "class"
    outputs = ">1"

    def __init__(
        self,
        model: Any,
        activation_fn: Activation | None = IDENTITY,
        *,
        mini_batch_tokens: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_tokens=mini_batch_tokens)
        self.ce_loss = nn.CrossEntropyLoss(**kwargs)

    def forward(
        self, inputs: Sequence[Sequence[str]], labels: Tensor, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError for other than two columns or labels that are no classes."""
        check_pairs(type(self).__name__, inputs)
        scores = self.activation_fn(self.score(list(zip(*inputs, strict=True)), prompt, task))
        target = class_targets(labels, scores)
        if not len(scores):
            return self.joined_mean(scores.sum(), 0, self.ce_loss.reduction)  # the other processes wait for it
        value: Tensor = self.ce_loss.to(scores.device)(scores, target)
        if not self.across_processes:
            return value
        return self.joined_mean(value, self.weight_of(target), self.ce_loss.reduction)

    def weight_of(self, target: Tensor) -> Tensor:
        """What torch divides by: the rows, or the weights of the rows' classes, without ignored rows."""
        if target.is_floating_point():
            return torch.tensor(float(len(target)), device=target.device)
        kept = target != self.ce_loss.ignore_index
        weight = self.ce_loss.weight
        # Not the kept rows alone: to know how many they are would wait for the device.
        return kept.sum() if weight is None else weight[target.where(kept, 0)].where(kept, 0).sum()

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {"activation_fn": fullname(self.activation_fn)}


def class_targets(labels: Any, scores: Tensor) -> Tensor:
    """The labels as torch wants them: int64 of shape (rows,) or floats of shape (rows, classes); else ValueError."""
    if isinstance(labels, list) and labels and all(isinstance(row, Tensor) for row in labels):
        labels = torch.stack(labels) if len({row.shape for row in labels}) == 1 else labels
    rows = len(scores)
    if isinstance(labels, Tensor):
        if labels.is_floating_point() and labels.shape == scores.shape:
            return labels.detach().to(scores)
        if not labels.is_floating_point() and labels.shape in {(rows,), (rows, 1)}:
            return labels.reshape(-1).to(scores.device, torch.long)
    kind = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
    raise ValueError(
        f"CrossEntropyLoss expects an integer class id for each of {rows} examples, or a list of {scores.shape[1]} "
        f"probabilities, but got {kind}: cast the label column, or take BinaryCrossEntropyLoss for one number per pair"
    )
