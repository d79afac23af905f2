"""Several datasets for several processes: in a step, all processes have batches of the same dataset.

Only then is the mean of a loss over the items of all processes defined where each dataset has a loss of its own, and
only then do many processes train on what one process with the whole batch trains on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from copy import copy
from itertools import islice
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, ConcatDataset


class StepBatchSampler(BatchSampler):
    """The batches of one dataset, `processes` of them joined to one; fewer at the end are left out.

    `sizes` are those of the joined batches that were handed out, oldest first: whoever takes the batches apart again
    removes them.
    """

    def __init__(self, sampler: BatchSampler, processes: int) -> None:
        super().__init__(range(0), batch_size=1, drop_last=True)
        size = cast("int | None", sampler.batch_size)  # None where the sampler limits tokens
        self.batch_size = cast("int", None if size is None else size * processes)
        self.batches = sampler
        self.processes = processes
        self.sizes: deque[list[int]] = deque()

    @property
    def generator(self) -> torch.Generator | None:
        """What the dataset's sampler draws from."""
        return getattr(self.batches, "generator", None)

    @property
    def reseeds(self) -> bool:
        """Whether it seeds that itself; a sampler over several datasets that shares it says no."""
        return getattr(self.batches, "reseeds", True)

    @reseeds.setter
    def reseeds(self, value: bool) -> None:
        cast("Any", self.batches).reseeds = value

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)

    def __copy__(self) -> StepBatchSampler:
        """With an epoch of its own; what it hands out is taken apart together with what this one does."""
        made = StepBatchSampler(copy(self.batches), self.processes)
        made.sizes = self.sizes
        return made

    def __iter__(self) -> Iterator[list[int]]:
        batches = iter(self.batches)
        while len(step := list(islice(batches, self.processes))) == self.processes:
            self.sizes.append([len(batch) for batch in step])
            yield [row for batch in step for row in batch]

    def __len__(self) -> int:
        return len(self.batches) // self.processes


class DealtBatchSampler(BatchSampler):
    """The batches of `sampler`, a sampler over the `parts` of `dataset`, each taken apart for the processes in turn.

    A batch that is none of a part's (a sampler of the user may make its own) is cut into equal shares.
    """

    def __init__(self, dataset: ConcatDataset[Any], sampler: BatchSampler, parts: list[StepBatchSampler]) -> None:
        super().__init__(range(0), batch_size=1, drop_last=True)
        self.batches = sampler
        self.parts = parts
        self.processes = parts[0].processes
        self.ends = dataset.cumulative_sizes
        size = cast("int | None", sampler.batch_size)
        self.batch_size = cast("int", None if size is None else size // self.processes)

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        for part in self.parts:
            part.sizes.clear()  # of batches that nobody took at the end of an epoch
        for rows in self.batches:
            start = 0
            for size in self._sizes(rows):
                yield rows[start : start + size]
                start += size

    def __len__(self) -> int:
        return len(self.batches) * self.processes

    def _sizes(self, rows: list[int]) -> list[int]:
        known = self.parts[bisect_right(self.ends, rows[0])].sizes
        if known and sum(known[0]) == len(rows):
            return known.popleft()
        return [len(rows) // self.processes] * self.processes
