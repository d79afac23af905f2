"""Mean squared error: the score that a teacher or a person gave to each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

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

HOFSTAETTER_2021 = """
@misc{hofstätter2021improving,
    title={Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation},
    author={Sebastian Hofstätter and Sophia Althammer and Michael Schröder and Mete Sertkan and Allan Hanbury},
    year={2021},
    eprint={2010.02666},
    archivePrefix={arXiv},
    primaryClass={cs.IR}
}
"""


def mse(scores: Tensor, labels: Tensor, mask: Tensor, reduction: str = "mean") -> Mean | Tensor:
    """(score - label)^2, mean over the pairs (Hofstätter et al. 2021, arXiv 2010.02666, "pointwise").

    All of one shape; `mask` is False for a pair that does not count. `reduction`: see `reduced`.
    """
    scores = at_least_float32(scores)
    error = (scores - labels.to(scores)).masked_fill(~mask, 0.0)
    return reduced(error.square(), mask.sum(), reduction)


class MSELoss(CrossEncoderLoss):
    """`mse` over activation(scores). Inputs: two columns of texts; labels: one number per row, shape (rows,).

    Further keyword arguments are those of `torch.nn.MSELoss`: reduction.
    """

    columns = "pair"
    labels = "scalar"
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
        self, inputs: Sequence[Sequence[str]], labels: Tensor, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError for other than two columns or one label per row."""
        check_pairs(type(self).__name__, inputs)
        labels = one_label_per_pair(type(self).__name__, labels, len(inputs[0]))
        scores = self.activated(list(zip(*inputs, strict=True)), prompt, task)
        mask = torch.ones_like(scores, dtype=torch.bool)
        return self.joined(mse(scores, labels.detach(), mask, self.loss_fct.reduction))

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {"activation_fn": fullname(self.activation_fn)}
