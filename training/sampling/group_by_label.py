"""Batches with several labels, each at least twice: what losses that look for triplets inside a batch need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from training.sampling.default import DefaultBatchSampler
from training.sampling.epoch import seeded

SMALLEST_BATCH = 4
"""Two labels, two rows each."""


class GroupByLabelBatchSampler(DefaultBatchSampler):
    """Labels give two random rows each in turn, in an order drawn anew every round, until one label alone is left.

    What is left of a large label by then waits for another epoch. The label is the first of `valid_label_columns` that
    the dataset has. ValueError if there is none, if `batch_size` is odd or below 4, or with fewer than two labels of
    two rows.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.dataset = dataset
        if batch_size < SMALLEST_BATCH or batch_size % 2:
            raise ValueError(f"batch_size must be an even number >= {SMALLEST_BATCH} to hold two labels: {batch_size}")
        self.groups = _rows_by_label(dataset, valid_label_columns)
        if len(self.groups) < 2:
            raise ValueError(f"Needs at least 2 labels with at least 2 rows each, found {len(self.groups)}")
        rounds = sorted((len(rows) // 2 for rows in self.groups.values()), reverse=True)
        # With the second largest label used up, the largest is alone.
        self._rows_used = 2 * sum(min(count, rounds[1]) for count in rounds)

    def __iter__(self) -> Iterator[list[int]]:
        generator = seeded(self.generator, self.seed, self.epoch)
        batch: list[int] = []
        for pair in self._pairs(generator):
            batch += pair
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if len(batch) >= SMALLEST_BATCH and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        full, rest = divmod(self._rows_used, self.batch_size)
        return full + (rest >= SMALLEST_BATCH and not self.drop_last)

    def _pairs(self, generator: torch.Generator) -> Iterator[list[int]]:
        """Two rows of a label, then two of another: never the same label twice in a batch of four."""
        stacks = []
        for rows in self.groups.values():
            order = torch.randperm(len(rows), generator=generator)[: len(rows) // 2 * 2].tolist()
            stacks.append([rows[index] for index in reversed(order)])
        labels = list(range(len(stacks)))
        given = 0
        last = -1
        while len(labels) >= 2:
            labels = [labels[index] for index in torch.randperm(len(labels), generator=generator).tolist()]
            if given % self.batch_size and labels[0] == last:
                labels[:2] = labels[1::-1]
            for label in labels:
                yield [stacks[label].pop(), stacks[label].pop()]
            given += 2 * len(labels)
            last = labels[-1]
            labels = [label for label in labels if stacks[label]]


def _rows_by_label(dataset: Any, label_columns: list[str] | None) -> dict[Any, list[int]]:
    """Row numbers of every label that has at least two."""
    column = next((name for name in label_columns or () if name in dataset.column_names), None)
    if column is None:
        raise ValueError(
            f"No label column to group by: looked for {label_columns}, the dataset has {dataset.column_names}"
        )
    groups: dict[Any, list[int]] = {}
    for row, label in enumerate(dataset[column]):
        groups.setdefault(label, []).append(row)
    return {label: rows for label, rows in groups.items() if len(rows) >= 2}
