"""Which of the candidates that passed become negatives: a window of ranks, then the best, any, or the likelier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from training.mining.filters import Mask
from training.mining.options import MiningOptions
from training.mining.positives import IndexArray, Problem
from training.retrieval.hits import Hits, no_hits

BLOCK_CELLS = 1 << 22
"""Candidates that random keys are drawn for at once: bounds the memory of a draw."""
REDRAWS = 16
"""A random document that is a positive or already chosen is drawn again that often, then left out."""


class Draw(Protocol):
    """The functions of Python's `random` that are drawn with: of the module, or of one generator with a seed."""

    def sample(self, population: Sequence[int], k: int) -> list[int]: ...

    def getrandbits(self, k: int, /) -> int: ...


def kept(candidates: Hits, keep: Mask, start: int, stop: int) -> Hits:
    """Those of ranks `start` to `stop` among the kept of each row: shape (rows, stop - start), filled up with -1."""
    rows, columns = np.nonzero(keep)
    counts = keep.sum(axis=1)
    ranks = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    inside = (ranks >= start) & (ranks < stop)
    rows, columns, ranks = rows[inside], columns[inside], ranks[inside] - start
    window = no_hits(len(keep), stop - start)
    window.indices[rows, ranks] = candidates.indices[rows, columns]
    window.scores[rows, ranks] = candidates.scores[rows, columns]
    return window


def selected(candidates: Hits, keep: Mask, options: MiningOptions, draw: Draw) -> Hits:
    """`options.mined_count` of each row's kept candidates, best first; -1 where there are fewer."""
    start, count = options.range_min, options.mined_count
    if options.sampling_strategy == "top":
        return kept(candidates, keep, start, start + count)
    window = kept(candidates, keep, start, options.range_max or keep.shape[1])
    at = _any(window, count, draw) if options.sampling_strategy == "random" else _likelier(window, count, options, draw)
    return Hits(np.take_along_axis(window.indices, at, axis=1), np.take_along_axis(window.scores, at, axis=1))


def _any(window: Hits, count: int, draw: Draw) -> IndexArray:
    """Positions with equal chances: one call of `random.sample` per row, as scripts with a seed know it."""
    options = np.maximum((window.indices >= 0).sum(axis=1), count).tolist()
    return np.sort(np.array([draw.sample(range(n), count) for n in options], dtype=np.int64), axis=1)


def _likelier(window: Hits, count: int, options: MiningOptions, draw: Draw) -> IndexArray:
    """Positions with chances proportional to exp(score / temperature), without replacement.

    The largest of score / temperature plus Gumbel noise are such a sample (Kool et al. 2019, arXiv 1903.06059).
    """
    generator = np.random.default_rng(draw.getrandbits(64))
    out = np.empty((len(window.indices), count), dtype=np.int64)
    step = max(1, BLOCK_CELLS // window.indices.shape[1])
    for start in range(0, len(out), step):
        rows = slice(start, start + step)
        keys = window.scores[rows] / options.temperature + generator.gumbel(size=window.scores[rows].shape)
        keys[window.indices[rows] < 0] = -np.inf
        out[rows] = np.sort(np.argpartition(-keys, count - 1, axis=1)[:, :count], axis=1)
    return out


def random_documents(problem: Problem, chosen: IndexArray, count: int, draw: Draw) -> IndexArray:
    """Documents of the whole corpus for each query, neither positives of it nor `chosen`: shape (queries, count).

    -1 where chance finds none, as in a corpus of hardly more than these.
    """
    generator = np.random.default_rng(draw.getrandbits(64))
    size = len(problem.corpus)
    rows = np.arange(len(chosen)) * size
    positives = problem.positives.queries * size + problem.positives.documents
    taken = np.unique(np.concatenate([positives, (rows[:, None] + chosen)[chosen >= 0]]))
    out = np.full((len(chosen), count), -1, dtype=np.int64)
    for _ in range(REDRAWS):
        for column in range(count):
            open_rows = np.flatnonzero(out[:, column] < 0)
            tried = generator.integers(size, size=len(open_rows))
            keys = rows[open_rows] + tried
            free = ~np.isin(keys, taken) & (out[open_rows] != tried[:, None]).all(axis=1)
            out[open_rows[free], column] = tried[free]
        if (out >= 0).all():
            break
    return out


def joined(first: Hits, second: Hits) -> Hits:
    """Both lists of each row in one, absent ones last."""
    both = Hits(np.hstack([first.indices, second.indices]), np.hstack([first.scores, second.scores]))
    return kept(both, both.indices >= 0, 0, both.indices.shape[1])
