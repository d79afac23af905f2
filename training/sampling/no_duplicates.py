"""Batches in which no value occurs twice, for losses that take the other rows of a batch as negatives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.sampling.codes import shared_codes
from training.sampling.columns import input_columns
from training.sampling.conflict_free import conflict_free_batches
from training.sampling.default import DefaultBatchSampler
from training.sampling.epoch import copy_of, seeded

logger = logging.getLogger(__name__)

EXTRA_PASSES = 2
"""Shuffles beyond the first by which dropped incomplete batches may be made up for."""


@dataclass(frozen=True)
class EpochPlan:
    """An epoch's batches: `rows` one after the other, cut by `sizes`; and where the random numbers stand after it."""

    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    state: torch.Tensor

    def batches(self) -> Iterator[list[int]]:
        start = 0
        for size in self.sizes.tolist():
            yield self.rows[start : start + size].tolist()
            start += size


class NoDuplicatesBatchSampler(DefaultBatchSampler):
    """Draws rows at random; one that shares a value with the batch, in whatever columns, waits for a later batch.

    Label columns do not count; values are compared by their string form, lists as a whole. With `drop_last` only full
    batches come, and where that leaves fewer than rows // batch_size, up to two further shuffles of all rows fill up.

    `len()` is the number of batches that the epoch really has. An epoch never has fewer than the first one (batches
    are halved for that, or repeated with `drop_last`): trainers count an epoch's steps once. The values are coded on
    first use, in one pass over the dataset, so `precompute_hashes` and its two settings have nothing left to speed up.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
        precompute_hashes: bool = False,
        precompute_num_proc: int | None = None,
        precompute_batch_size: int = 1000,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.dataset = dataset
        self.precompute_hashes = precompute_hashes
        self.precompute_num_proc = precompute_num_proc
        self.precompute_batch_size = precompute_batch_size
        self._codes: NDArray[np.int64] | None = None
        self._plan: tuple[bytes, EpochPlan] | None = None
        self._first_epoch: int | None = None

    def __iter__(self) -> Iterator[list[int]]:
        generator = seeded(self.generator, self.seed, self.epoch)
        plan = self._plan_from(generator)
        generator.set_state(plan.state)
        yield from plan.batches()

    def __len__(self) -> int:
        return len(self._plan_from(self._next_generator()).sizes)

    def _next_generator(self) -> torch.Generator:
        """What the next pass will draw from; `len()` must not move the generator that others share."""
        return seeded(None, self.seed, self.epoch) if self.seed is not None else seeded(self.generator, None, 0)

    def _plan_from(self, generator: torch.Generator) -> EpochPlan:
        """The epoch that begins with `generator` as it stands (not moved), kept for the next call."""
        start = generator.get_state().numpy().tobytes()
        if self._plan is None or self._plan[0] != start:
            self._plan = (start, self._with_all_batches(self._make_plan(copy_of(generator))))
        return self._plan[1]

    def _make_plan(self, generator: torch.Generator) -> EpochPlan:
        wanted = len(self.dataset) // self.batch_size if self.drop_last else 0
        passes = 1
        batches = self._one_pass(generator)
        while 0 < len(batches) < wanted and passes <= EXTRA_PASSES:
            passes += 1
            batches += self._one_pass(generator)[: wanted - len(batches)]
        if passes > 1:
            logger.info("Too many equal values for %d full batches of new rows: %d shuffles used", wanted, passes)
        rows = np.concatenate([*batches, np.empty(0, dtype=np.int64)])
        return EpochPlan(rows, np.array([len(batch) for batch in batches], dtype=np.int64), generator.get_state())

    def _one_pass(self, generator: torch.Generator) -> list[NDArray[np.int64]]:
        if self._codes is None:
            self._codes = shared_codes(self.dataset, input_columns(self.dataset, self.valid_label_columns))
        # The type is that of the reference, should the draw ever depend on it.
        dtype = torch.int32 if len(self._codes) <= np.iinfo(np.int32).max else torch.int64
        order = torch.randperm(len(self._codes), generator=generator, dtype=dtype).numpy().astype(np.int64)
        batches = conflict_free_batches(self._codes[order], self.batch_size)
        return [order[batch] for batch in batches if len(batch) == self.batch_size or not self.drop_last]

    def _with_all_batches(self, plan: EpochPlan) -> EpochPlan:
        """`plan` with at least as many batches as the first epoch has."""
        if self.seed is None:
            return plan
        if self.epoch == 0:
            self._first_epoch = len(plan.sizes)
        if self._first_epoch is None:
            self._first_epoch = len(self._make_plan(seeded(None, self.seed, 0)).sizes)
        missing = self._first_epoch - len(plan.sizes)
        if missing <= 0:
            return plan
        if not self.drop_last:
            return _halved(plan, missing)
        # Where equal values leave this epoch no full batch at all, it gets those of the first.
        return _repeated(plan, missing, plan if len(plan.sizes) else self._make_plan(seeded(None, self.seed, 0)))


def _repeated(plan: EpochPlan, missing: int, source: EpochPlan) -> EpochPlan:
    """The first batches of `source` (all full: of one size) once more at the end, from its start again if need be."""
    size = int(source.sizes[0])
    rows = np.concatenate([plan.rows, np.resize(source.rows, missing * size)])
    return EpochPlan(rows, np.full(len(plan.sizes) + missing, size, dtype=np.int64), plan.state)


def _halved(plan: EpochPlan, missing: int) -> EpochPlan:
    """The largest batches in two: the rows and their order stay."""
    sizes = plan.sizes
    for _ in range(missing):
        largest = int(sizes.argmax())
        half = int(sizes[largest]) // 2
        sizes = np.insert(sizes, largest, half)
        sizes[largest + 1] -= half
    return EpochPlan(plan.rows, sizes, plan.state)
