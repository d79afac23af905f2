"""Candidate lists as matrices, and the rankings that follow from scores and a rerank depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.model.types import FloatArray
from training.candidates import Task
from training.metrics import Ranked, order


@dataclass(frozen=True, slots=True)
class Lists:
    """`grades` (queries, width) of the candidates in first-stage order, 0 behind the end of shorter lists, whose
    lengths are `sizes` (queries,). `best` as in `Ranked`."""

    grades: NDArray[np.float64]
    sizes: NDArray[np.int64]
    best: NDArray[np.float64]

    @classmethod
    def of(cls, task: Task) -> Lists:
        """The lists of a task, in its order."""
        rows = [[task.qrels[key].get(name, 0.0) for name in names] for key, names in task.candidates.items()]
        best = [
            sorted((grade for grade in task.qrels[key].values() if grade > 0), reverse=True) for key in task.queries
        ]
        return cls(_padded(rows, 0.0), np.array([len(row) for row in rows]), _padded(best, 0.0))

    def place(self, scores: FloatArray) -> NDArray[np.float64]:
        """Scores of all candidates, list after list, as (queries, width) with -inf behind the end of a list."""
        placed = np.full_like(self.grades, -np.inf)
        placed[np.arange(placed.shape[1]) < self.sizes[:, None]] = scores
        return placed

    def ranked(self, positions: NDArray[np.int64]) -> Ranked:
        """What the metrics see of an order of the candidates."""
        return Ranked(np.take_along_axis(self.grades, positions, axis=1), self.best)

    def first_stage(self) -> Ranked:
        """The candidates as they come."""
        return Ranked(self.grades, self.best)


def reranked(scores: NDArray[np.float64], depth: int) -> NDArray[np.int64]:
    """Positions in ranked order: the first `depth` candidates by falling score, ties in first-stage order; the rest
    behind them as it was. Shape of `scores`, (queries, width)."""
    rest = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)[:, depth:]
    return np.concatenate([order(scores[:, :depth]), rest], axis=1)


def curve_depths(wanted: Iterable[int], depth: int, width: int) -> tuple[int, ...]:
    """Depths of a curve over lists of at most `width`, rising, `depth` among them; deeper ones than `width` are it."""
    return tuple(sorted({min(one, width) for one in (*wanted, depth)}))


def _padded(rows: Sequence[Sequence[float]], fill: float) -> NDArray[np.float64]:
    matrix = np.full((len(rows), max([1, *map(len, rows)])), fill)
    for row, values in zip(matrix, rows, strict=True):
        row[: len(values)] = values
    return matrix
