"""Datasets in turn, for as long as every one of them has a batch left."""

from __future__ import annotations

from collections.abc import Iterator

from training.sampling.epoch import seeded
from training.sampling.multi_dataset import MultiDatasetDefaultBatchSampler, shifted


class RoundRobinBatchSampler(MultiDatasetDefaultBatchSampler):
    """One batch of each dataset in turn until one has none left: equal shares, not all rows."""

    def __iter__(self) -> Iterator[list[int]]:
        seeded(self.generator, self.seed, self.epoch)
        offsets = self.offsets()
        # Not strict: the shortest ends the epoch.
        for turn in zip(*self.batch_samplers, strict=False):
            for batch, offset in zip(turn, offsets, strict=True):
                yield shifted(batch, offset)

    def __len__(self) -> int:
        return min(len(sampler) for sampler in self.batch_samplers) * len(self.batch_samplers)
