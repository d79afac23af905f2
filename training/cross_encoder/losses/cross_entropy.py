"""Cross-entropy: one of several classes for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.cross_encoder.losses.base import IDENTITY, Activation, CrossEncoderLoss, at_least_float32, check_pairs
from training.cross_encoder.losses.mean import Mean, reduced
from training.util.misc import fullname

IGNORED = -100  # of torch: no class has this id


def cross_entropy(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Mean | Tensor:
    """-weight[class] log softmax(scores)[class], mean over the rows.

    Shapes: scores (rows, classes); labels (rows,), class ids, or (rows, classes), distributions; mask (rows,), False
    for a row that does not count, as those of class `ignore_index` do not. `weight` has one number for each class; the
    mean divides by those of the rows' classes, or by the rows where labels are distributions. `label_smoothing` moves
    that share of each label to all classes alike. `reduction`: see `reduced`. RuntimeError for an `ignore_index` of 0
    or more with distributions.
    """
    scores = at_least_float32(scores).masked_fill(~mask[:, None], 0.0)
    soft = labels.is_floating_point()
    if soft:
        labels = labels.to(scores).masked_fill(~mask[:, None], 0.0)
    else:
        labels = labels.long().masked_fill(~mask, ignore_index)
    weight = None if weight is None else weight.to(scores)
    losses = functional.cross_entropy(
        scores,
        labels,
        weight,
        ignore_index=ignore_index,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    total = mask.sum() if soft else weight_of(labels, weight, ignore_index)
    return reduced(losses.masked_fill(~mask, 0.0), total, reduction)


def weight_of(labels: Tensor, weight: Tensor | None = None, ignore_index: int = IGNORED) -> Tensor:
    """What the mean over rows of class ids divides by: the rows, or the weights of their classes; shape ()."""
    kept = labels != ignore_index
    # Not the kept rows alone: to know how many they are would wait for the device.
    return kept.sum() if weight is None else weight[labels.where(kept, 0)].where(kept, 0).sum()


class CrossEntropyLoss(CrossEncoderLoss):
    """`cross_entropy` over activation(logits).

    Inputs: two columns of texts; labels: class ids, shape (rows,), or a distribution over the classes, shape
    (rows, classes). Further keyword arguments are those of `torch.nn.CrossEntropyLoss`: weight, ignore_index,
    label_smoothing, reduction.
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
        mask, options = torch.ones(len(scores), dtype=torch.bool, device=scores.device), self.ce_loss
        return self.joined(
            cross_entropy(
                scores,
                target,
                mask,
                options.weight,
                options.ignore_index,
                options.label_smoothing,
                options.reduction,
            )
        )

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
