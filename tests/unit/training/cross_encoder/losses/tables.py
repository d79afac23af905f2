"""Models without weights: the score of (query i, text j) is an entry of a table, for both libraries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder as LibraryCrossEncoder
from torch import Tensor, nn


def query(i: int) -> str:
    return f"q{i}"


def text(j: int) -> str:
    return f"d{j}"


class Table(nn.Module):
    """A callable that scores pairs of `query(i)` and `text(j)`; counts its calls."""

    def __init__(self, scores: Tensor) -> None:
        """`scores`: (queries, texts, labels)."""
        super().__init__()
        self.table = nn.Parameter(scores.clone())
        self.num_labels = scores.shape[2]
        self.calls: list[list[tuple[str, str]]] = []

    def forward(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        self.calls.append(list(pairs))
        found = [(int(a[1:]), int(b[1:])) if a else (0, 0) for a, b in pairs]
        index = torch.tensor(found, dtype=torch.long).reshape(-1, 2)
        return self.table[index[:, 0], index[:, 1]]


class LibraryTable(LibraryCrossEncoder):
    """The same as a model of sentence-transformers."""

    num_labels = 1
    device = torch.device("cpu")

    def __init__(self, scores: Tensor) -> None:
        nn.Module.__init__(self)
        self.inner = Table(scores)
        self.num_labels = self.inner.num_labels

    def preprocess(self, pairs: Any, prompt: str | None = None, task: str | None = None) -> dict[str, Tensor]:
        return {"index": torch.tensor([(int(a[1:]), int(b[1:])) for a, b in pairs])}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        index = features["index"]
        return {"scores": self.inner.table[index[:, 0], index[:, 1]]}


def lists(lengths: Sequence[int]) -> list[Any]:
    """The two columns of a listwise batch; text j is the j-th of each list."""
    return [[query(i) for i in range(len(lengths))], [[text(j) for j in range(length)] for length in lengths]]


def columns(rows: int, count: int) -> list[list[str]]:
    """An anchor column and `count` text columns without a repeated text."""
    texts = [[text(c * rows + i) for i in range(rows)] for c in range(count)]
    return [[query(i) for i in range(rows)], *texts]


def value_and_gradient(loss: nn.Module, table: nn.Parameter, inputs: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """The loss, detached, and its gradient with respect to the scores."""
    table.grad = None
    value = loss(inputs, labels)
    if value.requires_grad:
        value.backward()
    return value.detach(), torch.zeros_like(table) if table.grad is None else table.grad.clone()
