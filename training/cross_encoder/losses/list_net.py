"""ListNet: the distribution of the labels over a query's documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from training.cross_encoder.losses.base import IDENTITY, Activation, CrossEncoderLoss, at_least_float32
from training.cross_encoder.losses.mean import Mean
from training.util.misc import fullname


def list_net(scores: Tensor, labels: Tensor, mask: Tensor) -> Mean:
    """-sum_i softmax(labels)_i log softmax(scores)_i, mean over queries (Cao et al. 2007, "top one").

    All of shape (queries, documents); `mask` is False for padding. An empty list has loss 0 and counts as a query.
    """
    scores = at_least_float32(scores)
    lowest = torch.finfo(scores.dtype).min
    targets = softmax(labels.to(scores).masked_fill(~mask, lowest), dim=1)
    log_probabilities = log_softmax(scores.masked_fill(~mask, lowest), dim=1)
    losses = -(targets * log_probabilities).masked_fill(~mask, 0.0)
    return Mean(losses.sum(), torch.tensor(len(scores), device=scores.device))


class ListNetLoss(CrossEncoderLoss):
    """`list_net` over activation(scores). Inputs: queries and lists of documents; labels: a list for each query."""

    columns = "list"
    labels = "list"
    citation = """
@inproceedings{cao2007learning,
    title={Learning to Rank: From Pairwise Approach to Listwise Approach},
    author={Cao, Zhe and Qin, Tao and Liu, Tie-Yan and Tsai, Ming-Feng and Li, Hang},
    booktitle={Proceedings of the 24th international conference on Machine learning},
    pages={129--136},
    year={2007}
}
"""

    def __init__(
        self,
        model: Any,
        activation_fn: Activation | None = IDENTITY,
        mini_batch_size: int | None = None,
        *,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size=mini_batch_size, mini_batch_tokens=mini_batch_tokens)

    def forward(
        self, inputs: Sequence[Any], labels: Sequence[Tensor], prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch; ValueError if lists and labels do not fit together."""
        return self.joined(list_net(*self.activated_lists(inputs, labels, prompt, task)))

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {"activation_fn": fullname(self.activation_fn), "mini_batch_size": self.mini_batch_size}
