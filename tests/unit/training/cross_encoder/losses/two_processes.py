"""One of two processes that train together; run by test_two_processes.py with rank and rendezvous file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.cross_encoder import losses

LENGTHS = [5, 2, 3, 6]
GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(8, 64, 1, generator=GENERATOR)
CLASS_SCORES = torch.randn(8, 64, 3, generator=GENERATOR)
LABELS = [torch.rand(length, generator=GENERATOR) for length in LENGTHS]
LISTWISE = ["LambdaLoss", "RankNetLoss", "ListNetLoss", "ListMLELoss", "PListMLELoss", "ADRMSELoss"]


class Table(nn.Module):
    """The score of (query i, text j) is entry [i, j]."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(scores.clone())
        self.num_labels = scores.shape[2]

    def forward(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        index = torch.tensor([(int(a[1:]), int(b[1:])) if a else (0, 0) for a, b in pairs]).reshape(-1, 2)
        return self.table[index[:, 0], index[:, 1]]


def batches() -> dict[str, tuple[Any, list[list[Any]], Any, int]]:
    """By name: loss of a model, columns, labels, and where the first process's share of the rows ends."""
    lists = [[f"q{i}" for i in range(4)], [[f"d{j}" for j in range(length)] for length in LENGTHS]]
    columns = [[f"q{i}" for i in range(8)], *([f"d{8 * c + i}" for i in range(8)] for c in range(3))]
    made: dict[str, tuple[Any, list[list[Any]], Any, int]] = {}
    for name in LISTWISE:
        for end in (2, 1, 0):
            made[f"{name} {end}"] = (across(name), lists, LABELS, end)
    weights = torch.tensor([1.0, 2.0, 4.0])
    for end in (4, 3, 0):
        for name in ("BinaryCrossEntropyLoss", "MSELoss"):
            made[f"{name} {end}"] = (across(name), columns[:2], torch.rand(8), end)
        made[f"MarginMSELoss {end}"] = (across("MarginMSELoss"), columns, torch.rand(8, 2), end)
        for kwargs in ({}, {"weight": weights, "ignore_index": 1}):
            made[f"CrossEntropyLoss {len(kwargs)} {end}"] = (
                across("CrossEntropyLoss", **kwargs),
                columns[:2],
                torch.arange(8) % 3,
                end,
            )
    for end in (4, 3):
        for count in (3, None):
            for name in ("MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss"):
                made[f"{name} {count} {end}"] = (gathering(name, count), columns, None, end)
    return made


def across(name: str, **kwargs: Any) -> Any:
    def make(model: nn.Module) -> nn.Module:
        loss: nn.Module = getattr(losses, name)(model, **kwargs)
        loss.across_processes = True
        return loss

    return make


def gathering(name: str, count: int | None) -> Any:
    return lambda model: getattr(losses, name)(model, num_negatives=count, gather_across_devices=True)


def step(name: str, make: Any, inputs: Any, labels: Any, distributed: bool) -> tuple[Tensor, Tensor]:
    """The loss and the gradient of the scores."""
    table = Table(CLASS_SCORES if name.startswith("CrossEntropyLoss") else SCORES)
    model = DistributedDataParallel(table) if distributed else table
    loss = make(model)
    torch.manual_seed(5)
    value = loss(inputs, labels)
    value.backward()
    assert table.table.grad is not None
    return value.detach(), table.table.grad


def share(values: Any, part: slice) -> Any:
    return None if values is None else values[part]


def main(rank: int, rendezvous: str, out: str) -> None:
    torch.manual_seed(1)
    expected = {name: step(name, make, inputs, labels, False) for name, (make, inputs, labels, _) in batches().items()}
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.manual_seed(1)
    found = {}
    for name, (make, inputs, labels, end) in batches().items():
        part = slice(0, end) if rank == 0 else slice(end, None)
        value, gradient = step(name, make, [column[part] for column in inputs], share(labels, part), True)
        dist.all_reduce(value)
        found[name] = (value / 2, gradient)
    dist.destroy_process_group()
    torch.save((expected, found), out)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
