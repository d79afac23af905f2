"""Datasets in random order, each as often as it has batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from training.sampling.epoch import seeded
from training.sampling.multi_dataset import MultiDatasetDefaultBatchSampler, shifted


class ProportionalBatchSampler(MultiDatasetDefaultBatchSampler):
    """All batches of all datasets, mixed at random: larger datasets come more often."""

    def __iter__(self) -> Iterator[list[int]]:
        generator = seeded(self.generator, self.seed, self.epoch)
        offsets = self.offsets()
        counts = torch.tensor([len(sampler) for sampler in self.batch_samplers])
        turns = torch.arange(len(counts)).repeat_interleave(counts)
        turns = turns[torch.randperm(len(turns), generator=generator)]
        streams = [iter(sampler) for sampler in self.batch_samplers]
        for part in turns.tolist():
            # None: a sampler of the user whose len() promised more than it has.
            batch = next(streams[part], None)
            if batch is not None:
                yield shifted(batch, offsets[part])

    def __len__(self) -> int:
        return sum(len(sampler) for sampler in self.batch_samplers)
