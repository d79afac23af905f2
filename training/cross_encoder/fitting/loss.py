"""A loss of torch as a loss of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from training.cross_encoder.losses.base import CrossEncoderLoss

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder


def logits_and_labels(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What torch's losses want of scores of shape (B, L).

    One output: (B,) and float labels. Several: (B, L) and class ids (B,), or float labels of shape (B, L).
    """
    if scores.shape[1] == 1:
        return scores.view(-1), labels.float()
    return scores, labels.float() if labels.dim() > 1 else labels.long()


class FitLoss(CrossEncoderLoss):
    """`loss_fct(activation_fct(logits), labels)` over pairs of texts, with `loss_fct` any loss of torch or function."""

    columns = "pair"
    labels: ClassVar[Literal["scalar", "class"]] = "scalar"

    def __init__(
        self, model: CrossEncoder, loss_fct: Callable[..., Tensor], activation_fct: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(model, activation_fct)
        self.loss_fct = loss_fct

    def forward(
        self,
        inputs: Sequence[Sequence[str]],
        labels: Tensor | Sequence[Tensor],
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor:
        """The loss of one batch: two columns of texts and their labels; ValueError for other columns."""
        if len(inputs) != 2:
            raise ValueError(f"fit trains on pairs: examples need 2 texts, these have {len(inputs)}")
        scores = self.score(list(zip(*inputs, strict=True)), prompt, task)
        target = labels if isinstance(labels, Tensor) else torch.stack(list(labels))
        logits, target = logits_and_labels(scores, target.to(scores.device))
        return self.loss_fct(self.activation_fn(logits), target)

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card tells about the loss."""
        return {"loss_fct": _name(self.loss_fct), "activation_fct": _name(self.activation_fn)}


class FitClassLoss(FitLoss):
    """`FitLoss` of a model with several outputs: a class id, or one number per output."""

    labels = "class"
    outputs = ">1"


def _name(function: Any) -> str:
    named = function if hasattr(function, "__name__") else type(function)
    return f"{named.__module__}.{named.__name__}"


def is_library_loss(loss: Any) -> bool:
    """Whether the loss takes texts and scores them itself, as those of `training.cross_encoder.losses` do."""
    return isinstance(loss, nn.Module) and isinstance(getattr(loss, "model", None), nn.Module)


def fit_loss(model: CrossEncoder, loss_fct: Any, activation_fct: Callable[[Tensor], Tensor]) -> nn.Module:
    """The loss to train with; without `loss_fct` binary cross entropy for one label and cross entropy for several."""
    if loss_fct is None:
        from training.cross_encoder.losses import BinaryCrossEntropyLoss, CrossEntropyLoss

        default = BinaryCrossEntropyLoss if model.num_labels == 1 else CrossEntropyLoss
        return default(model, activation_fn=activation_fct)  # type: ignore[no-any-return]
    if is_library_loss(loss_fct):
        return loss_fct  # type: ignore[no-any-return]
    return (FitLoss if model.num_labels == 1 else FitClassLoss)(model, loss_fct, activation_fct)
