"""What the samplers over several datasets have in common: a batch comes from one dataset only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from itertools import accumulate
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, ConcatDataset

from training.sampling.epoch import SetEpochMixin


class MultiDatasetDefaultBatchSampler(SetEpochMixin, BatchSampler, ABC):
    """Yields the batches of `batch_samplers`, one for each part of `dataset`, in the order that a subclass defines.

    Subclasses are what `multi_dataset_batch_sampler=` of the training arguments takes; they are built with
    `(dataset, batch_samplers=, generator=, seed=)`. ValueError if there is not one sampler for every dataset.
    """

    def __init__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: list[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int | None = 0,
    ) -> None:
        if len(dataset.datasets) != len(batch_samplers):
            raise ValueError(f"{len(dataset.datasets)} datasets need as many samplers, not {len(batch_samplers)}")
        super().__init__(dataset, batch_size=1, drop_last=batch_samplers[0].drop_last)
        # None where a part limits tokens: accelerate then takes batches of any size.
        sizes = [sampler.batch_size for sampler in batch_samplers]
        self.batch_size = cast("int", None if None in sizes else sizes[0])
        self.dataset = dataset
        self.batch_samplers = batch_samplers
        self.generator = generator
        self.seed = seed
        if generator is not None and seed is not None:
            self._seed_for_parts(generator)

    def _seed_for_parts(self, generator: torch.Generator) -> None:
        """Parts that draw from `generator` go on from where this sampler leaves it: else all would draw the same."""
        for sampler in self.batch_samplers:
            if getattr(sampler, "generator", None) is generator:
                sampler.reseeds = False  # type: ignore[attr-defined]

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        for sampler in self.batch_samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def offsets(self) -> list[int]:
        """For each dataset, the index of its first row in the concatenation."""
        sizes = [len(cast("Sized", part)) for part in self.dataset.datasets]
        return [0, *accumulate(sizes)][:-1]

    @abstractmethod
    def __iter__(self) -> Iterator[list[int]]: ...

    @abstractmethod
    def __len__(self) -> int: ...


def shifted(batch: list[int], offset: int) -> list[int]:
    return [index + offset for index in batch]
