"""Datasets as often as their weight says, however large they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, ConcatDataset

from training.sampling.epoch import copy_of, seeded
from training.sampling.multi_dataset import MultiDatasetDefaultBatchSampler, shifted

PASS_STRIDE = 1 << 20
"""Distance between the epochs whose orders a dataset's further passes take: more epochs than a run has."""


class WeightedBatchSampler(MultiDatasetDefaultBatchSampler):
    """Mixes batches so that each dataset's share is its weight, or its size to the power of 1 / `temperature`.

    Temperature 1 is proportional to size, larger ones come closer to equal shares (the multilingual T5 paper, arXiv
    2010.11934, calls 1 / temperature alpha). Weights need not add up to one; a dataset of weight 0 is left out. An
    epoch has `num_batches` batches, by default as many as all datasets have together; a share that is no whole number
    is rounded at random so that it holds over the epochs. A dataset that runs out starts again, shuffled anew.

    ValueError for both or neither of the two options, a wrong number of weights, a negative or not finite value, and
    (when counted) a weighted dataset that has no batch.
    """

    def __init__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: list[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int | None = 0,
        weights: Sequence[float] | None = None,
        temperature: float | None = None,
        num_batches: int | None = None,
    ) -> None:
        super().__init__(dataset, batch_samplers, generator, seed)
        if (weights is None) == (temperature is None):
            raise ValueError("Give either a weight for each dataset or a temperature")
        if weights is not None:
            _check_weights(weights, len(batch_samplers))
        if temperature is not None and not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"The temperature must be positive and finite: {temperature}")
        self.weights = weights
        self.temperature = temperature
        self.num_batches = num_batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = seeded(self.generator, self.seed, self.epoch)
        order = torch.randperm(len(self), generator=generator).numpy()
        # From a copy: parts that share the generator then draw what they draw under ProportionalBatchSampler.
        offset = float(torch.rand((), generator=copy_of(generator), dtype=torch.float64))
        counts = _rounded(self.shares() * len(self), offset)
        turns = np.repeat(np.arange(len(counts)), counts)[order]
        streams = [self._endless(part) for part in range(len(counts))]
        offsets = self.offsets()
        for part in turns.tolist():
            yield shifted(next(streams[part]), offsets[part])

    def __len__(self) -> int:
        if self.num_batches is not None:
            return self.num_batches
        return sum(len(sampler) for sampler in self.batch_samplers)

    def shares(self) -> NDArray[np.float64]:
        """(datasets,) expected part of the batches, adding up to one."""
        sizes = np.array([len(sampler) for sampler in self.batch_samplers], dtype=np.float64)
        if self.weights is not None:
            shares = np.array(self.weights, dtype=np.float64)
        else:
            # Relative to the largest, so that a temperature near 0 does not overflow.
            shares = (sizes / max(sizes.max(), 1)) ** (1 / (self.temperature or 1))
        empty = np.flatnonzero((shares > 0) & (sizes == 0))
        if len(empty):
            raise ValueError(f"Dataset {empty[0]} has no batch (fewer rows than a batch?): give it weight 0")
        if not shares.any():
            raise ValueError("No dataset has a batch (fewer rows than a batch?)")
        normalised: NDArray[np.float64] = shares / shares.sum()
        return normalised

    def _endless(self, part: int) -> Iterator[list[int]]:
        # A copy: the number of batches that the part itself reports stays that of the epoch.
        sampler = copy(self.batch_samplers[part])
        epoch = self.epoch
        while True:
            yield from sampler
            epoch += PASS_STRIDE
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)


def _check_weights(weights: Sequence[float], datasets: int) -> None:
    if len(weights) != datasets:
        raise ValueError(f"{datasets} datasets need as many weights, not {len(weights)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
        raise ValueError(f"Weights must be finite, not negative and not all 0: {list(weights)}")


def _rounded(shares: NDArray[np.float64], offset: float) -> NDArray[np.int64]:
    """Whole numbers of the same sum, each within one of its share and equal to it on average over `offset` in [0, 1).

    Systematic sampling: the ends of the shares, laid end to end, are moved by `offset` and rounded down.
    """
    ends = np.cumsum(shares).round(6)  # 2.9999999 is 3
    ends[-1] = round(float(shares.sum()))
    return np.diff(np.floor(ends + offset), prepend=0.0).astype(np.int64)
