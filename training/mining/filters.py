"""Which candidates may not become negatives: masks of shape (queries, candidates), without any state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.model.types import FloatArray
from training.mining.options import MiningOptions
from training.mining.positives import IndexArray, Positives

Mask = NDArray[np.bool_]


class Drop(NamedTuple):
    """One filter's verdict; `suspicious` where it drops what may be a positive that nobody marked."""

    name: str
    value: float
    mask: Mask
    suspicious: bool = True


class Skipped(NamedTuple):
    """How many candidates one filter dropped, and of how many that reached it."""

    name: str
    value: float
    dropped: int
    of: int

    @property
    def share(self) -> float:
        return self.dropped / self.of if self.of else 0.0


def own_positives(candidates: IndexArray, positives: Positives, corpus_size: int) -> Mask:
    """Where a candidate is a positive of its own query."""
    known = np.sort(positives.queries * corpus_size + positives.documents)
    keys = np.arange(len(candidates))[:, None] * corpus_size + candidates
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    own: Mask = (known[at] == keys) & (candidates >= 0)
    return own


def lowest_positive(scores: FloatArray, positives: Positives) -> FloatArray:
    """The lowest known score among each query's positives: shape (queries, 1), NaN where none is known."""
    return np.asarray(np.fmin.reduceat(scores, positives.offsets[:-1])[:, None], dtype=np.float32)


def drops(
    options: MiningOptions, scores: FloatArray, positive_scores: FloatArray, lowest: FloatArray
) -> Iterator[Drop]:
    """The filters on scores that `options` asks for, in their order. A positive of unknown score bounds nothing."""
    if options.absolute_margin is not None:
        yield Drop("absolute_margin", options.absolute_margin, scores + options.absolute_margin > lowest)
    if options.relative_margin is not None:
        bound = lowest - np.abs(lowest) * options.relative_margin
        yield Drop("relative_margin", options.relative_margin, scores > bound)
    if options.max_score is not None:
        yield Drop("max_score", options.max_score, scores > options.max_score)
    if options.percentile is not None:
        highest = np.float32(np.nanpercentile(positive_scores, options.percentile))
        yield Drop("percentile", options.percentile, scores > highest)
    if options.min_score is not None:
        yield Drop("min_score", options.min_score, scores < options.min_score, suspicious=False)


def teacher_drops(options: MiningOptions, scores: FloatArray, lowest: FloatArray) -> Iterator[Drop]:
    """The filters on a teacher's scores of candidates; NaN where it was not asked."""
    if options.teacher_margin is not None:
        yield Drop("teacher_margin", options.teacher_margin, scores + options.teacher_margin > lowest)
    if options.teacher_max_score is not None:
        yield Drop("teacher_max_score", options.teacher_max_score, scores > options.teacher_max_score)
