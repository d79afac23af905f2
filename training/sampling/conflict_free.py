"""Batches without a shared value: the rows in order, each into the first batch that takes it.

What scanning the remaining rows for every batch would give, in a time that does not grow with the number of deferred
rows: runs of rows that share nothing are found by one vectorised comparison, and a deferred row sleeps in the queue of
the value that blocked it until that value is free again.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray


def conflict_free_batches(codes: NDArray[np.int64], batch_size: int) -> Iterator[list[int]]:
    """Batches of row numbers of `codes` (rows in the order wanted, columns; -1 conflicts with nothing).

    Every row is in exactly one batch; a batch is smaller than `batch_size` only where no remaining row fits into it.
    """
    queue = _RowQueue(codes)
    while queue:
        yield queue.next_batch(batch_size)


def latest_conflicts(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every row the last row before it that shares a value with it, -1 if there is none."""
    rows, columns = codes.shape
    flat = codes.ravel()
    places = np.flatnonzero(flat >= 0)
    places = places[np.argsort(flat[places], kind="stable")]  # by value, then by row
    repeated = np.flatnonzero(flat[places[1:]] == flat[places[:-1]])
    latest = np.full(rows * columns, -1, dtype=np.int64)
    latest[places[repeated + 1]] = places[repeated] // columns
    nearest: NDArray[np.int64] = latest.reshape(rows, columns).max(axis=1, initial=-1)
    return nearest


class _RowQueue:
    """Rows not yet in a batch: those never looked at (`fresh` and later), those that may fit, those that sleep.

    While a value is neither taken by the current batch nor held by a smaller row of `awake`, no row sleeps on it: so
    a sleeping row can never be the next that fits.
    """

    def __init__(self, codes: NDArray[np.int64]) -> None:
        self.codes = codes
        self.latest = latest_conflicts(codes)
        self.fresh = 0
        self.awake: list[int] = []  # heap
        self.asleep: dict[int, list[int]] = {}  # value -> heap of rows

    def __bool__(self) -> bool:
        return bool(self.awake) or self.fresh < len(self.codes)

    def next_batch(self, batch_size: int) -> list[int]:
        batch: list[int] = []
        taken: set[int] = set()
        while self.awake and len(batch) < batch_size:
            self._consider(heappop(self.awake), batch, taken)
        while len(batch) < batch_size and self.fresh < len(self.codes):
            self._take_run(batch, batch_size, taken)
        for value in taken if self.asleep else ():
            self._wake(value)
        return batch

    def _take_run(self, batch: list[int], batch_size: int, taken: set[int]) -> None:
        """Fresh rows up to the first one with a conflict, and that one by itself."""
        start, stop = self.fresh, min(self.fresh + batch_size - len(batch), len(self.codes))
        conflicts = self.latest[start:stop] >= start
        run = int(conflicts.argmax()) if conflicts.any() else stop - start
        values = self.codes[start : start + run].ravel().tolist() if run else []
        if taken.isdisjoint(values):
            batch.extend(range(start, start + run))
            taken.update(values)
            taken.discard(-1)
            self.fresh += run
        else:
            run = 0
        # The rest is looked at row by row: more runs would be short ones.
        for row in range(start + run, stop):
            self._consider(row, batch, taken)
        self.fresh = stop

    def _consider(self, row: int, batch: list[int], taken: set[int]) -> None:
        values = [value for value in self.codes[row].tolist() if value >= 0]
        blocker = next((value for value in values if value in taken), None)
        if blocker is None:
            batch.append(row)
            taken.update(values)
            return
        heappush(self.asleep.setdefault(blocker, []), row)
        for value in values:
            if value not in taken:  # this row guarded those that sleep on it
                self._wake(value)

    def _wake(self, value: int) -> None:
        """Lets the first row that sleeps on `value` be looked at again: if it is taken, the others need not be."""
        sleepers = self.asleep.get(value)
        if sleepers:
            heappush(self.awake, heappop(sleepers))
            if not sleepers:
                del self.asleep[value]
