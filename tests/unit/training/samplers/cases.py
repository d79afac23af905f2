"""Datasets and checks that the sampler tests share."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import BatchSampler


class Rows(list[dict[str, Any]]):
    """The least that a dataset can be: rows and the names of their columns."""

    column_names = ("question", "answer", "label")


def pairs(rows: int, distinct: int, seed: int = 0) -> Dataset:
    """`rows` of question, answer and label, with values from `distinct` texts for both columns."""
    draw = random.Random(seed)
    return Dataset.from_dict(
        {
            "question": [f"text {draw.randrange(distinct)}" for _ in range(rows)],
            "answer": [f"text {draw.randrange(distinct)}" for _ in range(rows)],
            "label": [draw.randrange(4) for _ in range(rows)],
        }
    )


def rows(count: int, distinct: int, seed: int = 0) -> Rows:
    """The rows of `pairs` without Arrow: a hundred such datasets are built in no time."""
    draw = random.Random(seed)
    texts = [[f"text {draw.randrange(distinct)}" for _ in range(2)] + [draw.randrange(4)] for _ in range(count)]
    return Rows(dict(zip(Rows.column_names, values, strict=True)) for values in texts)


def settings(batch_size: int, drop_last: bool = False, seed: int = 12) -> dict[str, Any]:
    """What a trainer gives every sampler, with a generator of its own."""
    return {
        "batch_size": batch_size,
        "drop_last": drop_last,
        "valid_label_columns": ["label", "labels"],
        "generator": torch.Generator().manual_seed(seed),
        "seed": seed,
    }


def epochs(sampler: BatchSampler, numbers: Iterable[int] = range(3)) -> list[list[list[int]]]:
    """The batches of the epochs, with `len()` checked before and after each."""
    found = []
    for epoch in numbers:
        sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        promised = len(sampler)
        batches = list(sampler)
        assert promised == len(batches) == len(sampler)
        found.append(batches)
    return found


def flat(batches: Sequence[Sequence[int]]) -> list[int]:
    return [index for batch in batches for index in batch]
