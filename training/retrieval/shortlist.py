"""The documents that may still be among the k best of their query, while a corpus is read tile by tile.

Scores arrive with an error of known size (a matrix product rounds in an order that depends on the shape of the tile).
Nothing is dropped that the error could have kept out of the k best; what remains is scored exactly at the end. So the
hits do not depend on tiles, threads or devices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.retrieval.hits import Hits, best_first

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Rescore = Callable[[Ints, Ints], Floats]
"""Exact scores of (row, document) pairs."""

SPARE = 64


def capacity_for(k: int) -> int:
    """Places per query: k, and as many again so that there is rarely need to sort."""
    return 2 * k + SPARE


class Shortlist:
    """Candidates of `rows` queries. Documents must come in the order of their indices."""

    def __init__(self, rows: int, k: int, rescore: Rescore) -> None:
        self._k, self._rescore = k, rescore
        shape = (rows, capacity_for(k))
        self._scores: Floats = np.full(shape, -np.inf, dtype=np.float32)
        self._indices: Ints = np.full(shape, -1, dtype=np.int64)
        self._count: Ints = np.zeros(rows, dtype=np.int64)
        self._error: Floats = np.zeros(rows, dtype=np.float32)
        self._floor: Floats = np.full(rows, -np.inf, dtype=np.float32)  # k documents are known to reach it

    def raise_floor(self, rows: slice, kth: Floats) -> None:
        """Says that k documents of each of these rows were seen to score `kth` or more."""
        floor = np.nextafter(kth - self._error[rows], np.float32(-np.inf))
        np.maximum(self._floor[rows], floor, out=self._floor[rows])

    def cut(self, rows: slice, error: Floats) -> Floats:
        """What a further document must score above, given that its score is wrong by less than `error`."""
        np.maximum(self._error[rows], error, out=self._error[rows])
        return np.asarray(self._floor[rows] - self._error[rows])

    def add(self, row: Ints, index: Ints, score: Floats) -> None:
        """Takes up documents, sorted by row and then by index."""
        crowded = self._count + np.bincount(row, minlength=len(self._count)) > self._scores.shape[1]
        if crowded.any():
            dense = crowded[row]
            self._thin(np.flatnonzero(crowded), row[dense], index[dense], score[dense])
            row, index, score = row[~dense], index[~dense], score[~dense]
        place, added = _places(row, len(self._count))
        place += self._count[row]
        self._scores[row, place], self._indices[row, place] = score, index
        self._count += added

    def finish(self, start: int, stop: int) -> Hits:
        """The hits of rows `start` to `stop`, exactly scored."""
        rows = np.arange(start, stop)
        scores, indices = self._scores[start:stop], self._indices[start:stop]
        return self._exact(rows, scores, indices, self._possible(rows, scores) & (indices >= 0))

    def _thin(self, rows: Ints, row: Ints, index: Ints, score: Floats) -> None:
        """Brings these rows, with what is to be added to them, back to less than their capacity."""
        local = np.searchsorted(rows, row)
        place, added = _places(local, len(rows))
        held = self._scores.shape[1]
        shape = (len(rows), held + int(added.max()))
        scores, indices = np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64)
        scores[:, :held], indices[:, :held] = self._scores[rows], self._indices[rows]
        scores[local, held + place], indices[local, held + place] = score, index
        kept = self._possible(rows, scores) & (indices >= 0)
        many = kept.sum(axis=1) > (self._k + held) // 2
        self._keep(rows[~many], scores[~many], indices[~many], kept[~many])
        if many.any():  # more near ties than there are places: decide between them now
            best = self._exact(rows[many], scores[many], indices[many], kept[many])
            self._keep(rows[many], best.scores, best.indices, best.indices >= 0)
            self._floor[rows[many]] = np.maximum(self._floor[rows[many]], best.scores[:, -1])

    def _possible(self, rows: Ints, scores: Floats) -> NDArray[np.bool_]:
        """Which of the scores may belong to one of the k best of its row. Raises the floor of the rows."""
        if scores.shape[1] >= self._k:
            kth = np.partition(scores, scores.shape[1] - self._k, axis=1)[:, scores.shape[1] - self._k]
            self._floor[rows] = np.maximum(self._floor[rows], kth - self._error[rows])
        return np.asarray(scores >= (self._floor[rows] - self._error[rows])[:, None])

    def _keep(self, rows: Ints, scores: Floats, indices: Ints, kept: NDArray[np.bool_]) -> None:
        local, column = np.nonzero(kept)
        place, count = _places(local, len(rows))
        self._scores[rows], self._indices[rows], self._count[rows] = -np.inf, -1, count
        self._scores[rows[local], place] = scores[local, column]
        self._indices[rows[local], place] = indices[local, column]

    def _exact(self, rows: Ints, scores: Floats, indices: Ints, kept: NDArray[np.bool_]) -> Hits:
        local, column = np.nonzero(kept)
        found, exact = np.full_like(indices, -1), np.full_like(scores, -np.inf)
        found[local, column] = indices[local, column]
        exact[local, column] = self._rescore(rows[local], indices[local, column])
        return best_first(found, exact, self._k)


def _places(row: Ints, rows: int) -> tuple[Ints, Ints]:
    """The position of each entry among those of its row, and how many each row has; `row` is sorted."""
    count = np.bincount(row, minlength=rows)
    return np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count), count
