"""Batches of any row sampler, and the constructor that all samplers of one dataset share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler

from training.sampling.epoch import SetEpochMixin


class DefaultBatchSampler(SetEpochMixin, BatchSampler):
    """Cuts the indices that `dataset` yields (a dataset's sampler, in fact) into batches of `batch_size`.

    Subclasses are what `batch_sampler=` of the training arguments takes; they are built with
    `(dataset, batch_size=, drop_last=, valid_label_columns=, generator=, seed=)`. ValueError for a wrong batch size.
    """

    reseeds = True
    """Off for a part of a multi-dataset sampler that has seeded the generator both draw from."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=drop_last)
        self.valid_label_columns = valid_label_columns
        self.generator = generator
        self.seed = seed

    def __iter__(self) -> Iterator[list[int]]:
        if self.reseeds and self.generator is not None and self.seed is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        yield from super().__iter__()
