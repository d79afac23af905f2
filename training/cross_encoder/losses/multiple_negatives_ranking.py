"""Multiple negatives ranking: the positive of a row against drawn texts of the other rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from training.cross_encoder.losses.base import Activation, CrossEncoderLoss, at_least_float32, check_lengths
from training.cross_encoder.losses.mean import Mean, world_size
from training.util.misc import fullname

SIGMOID = nn.Sigmoid()


def multiple_negatives_ranking(scores: Tensor, mask: Tensor | None = None) -> Mean:
    """-log softmax(scores)[0], mean over rows (Henderson et al. 2017, arXiv 1705.00652).

    `scores`, shape (rows, candidates), have the positive in the first column; `mask` is False for a candidate that
    does not count.
    """
    scores = at_least_float32(scores)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    losses = -log_softmax(scores, dim=1)[:, 0]
    return Mean(losses.sum(), torch.tensor(len(losses), device=losses.device))


def draw_negatives(rows: int, columns: int, count: int | None) -> Tensor:
    """For each row, `count` texts of other rows, or all of them: indices into the columns laid end to end.

    Shape (rows, count). Drawn without replacement from the global generator of the CPU, with one weighted draw over
    all texts, so that the same state of the generator gives the same negatives as in sentence-transformers.
    """
    available = (rows - 1) * columns
    others = ~torch.eye(rows, dtype=torch.bool).repeat(1, columns)
    if count is not None and count < available:
        return torch.multinomial(others.float(), count) if count > 0 else torch.empty(rows, 0, dtype=torch.long)
    return torch.arange(rows * columns).repeat(rows, 1)[others].reshape(rows, max(available, 0))


def gather_columns(columns: list[list[str]]) -> tuple[list[list[str]], int]:
    """The columns of all processes, joined by rank, and the index of this process's first row in them."""
    if world_size() == 1:
        return columns, 0
    parts: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(parts, columns)
    first_row = sum(len(part[0]) for part in parts[: torch.distributed.get_rank()])
    return [[text for part in parts for text in part[i]] for i in range(len(columns))], first_row


class MultipleNegativesRankingLoss(CrossEncoderLoss):
    """Cross-entropy of scale * activation(score), the row's own positive being the right answer among candidates.

    Inputs: anchor, positive, any number of hard negatives; labels are not read. The candidates of an anchor are its
    positive, `num_negatives` texts (None: all) drawn from the positives and hard negatives of the other rows, and its
    own hard negatives. Repeated texts are not detected: use the sampler `no_duplicates`.

    With `gather_across_devices` the other rows are those of all processes. Only texts travel, since a cross-encoder
    scores each pair where its anchor is, so the average of the processes' gradients equals one process with the whole
    batch, provided that their CPU generators are in the same state (as after seeding, with dropout off).
    """

    columns = "anchor_positive"
    labels = "none"
    citation = """
@misc{henderson2017efficient,
    title={Efficient Natural Language Response Suggestion for Smart Reply},
    author={Matthew Henderson and Rami Al-Rfou and Brian Strope and Yun-hsuan Sung and Laszlo Lukacs and Ruiqi Guo
        and Sanjiv Kumar and Balint Miklos and Ray Kurzweil},
    year={2017},
    eprint={1705.00652},
    archivePrefix={arXiv},
    primaryClass={cs.CL}
}
"""

    def __init__(
        self,
        model: Any,
        num_negatives: int | None = 4,
        scale: float = 10.0,
        activation_fn: Activation | None = SIGMOID,
        *,
        gather_across_devices: bool = False,
        mini_batch_size: int | None = None,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size=mini_batch_size, mini_batch_tokens=mini_batch_tokens)
        self.num_negatives = num_negatives
        self.scale = scale
        self.gather_across_devices = gather_across_devices
        self.across_processes = True if gather_across_devices else None

    def forward(
        self,
        inputs: Sequence[Sequence[str]],
        labels: Tensor | None = None,
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor:
        """The loss of a batch; ValueError for fewer than two columns or unequal ones."""
        if len(inputs) < 2:
            raise ValueError(
                f"{type(self).__name__} expects at least two non-label columns (anchor, positive), but got "
                f"{len(inputs)} columns: is one of them named like a label column (label, labels, score, scores)?"
            )
        check_lengths(type(self).__name__, inputs)
        anchors = inputs[0]
        candidates = self.candidates([list(column) for column in inputs[1:]])
        pairs = [(anchor, text) for anchor, texts in zip(anchors, candidates, strict=True) for text in texts]
        scores = self.score(pairs, prompt, task).reshape(len(anchors), -1) if pairs else self.score([], prompt, task)
        scores = self.activation_fn(scores)
        return self.joined(multiple_negatives_ranking(scores * self.scale if self.scale else scores))

    def candidates(self, columns: list[list[str]]) -> list[list[str]]:
        """The texts that each row's anchor is scored with, the positive first."""
        own_rows = len(columns[0])
        columns, first_row = gather_columns(columns) if self.gather_across_devices else (columns, 0)
        rows, flat = len(columns[0]), [text for column in columns for text in column]
        drawn = draw_negatives(rows, len(columns), self.num_negatives)[first_row : first_row + own_rows]
        own = torch.arange(first_row, first_row + own_rows)[:, None] + rows * torch.arange(len(columns))
        index = torch.cat([own[:, :1], drawn, own[:, 1:]], dim=1)
        return [[flat[i] for i in row] for row in index.tolist()]

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        config = {
            "scale": self.scale,
            "num_negatives": self.num_negatives,
            "activation_fn": fullname(self.activation_fn),
        }
        return {**config, "gather_across_devices": True} if self.gather_across_devices else config
