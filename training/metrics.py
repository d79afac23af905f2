"""Ranking metrics of many queries at once, by the definitions of trec_eval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import ConfigError

Array = NDArray[np.float64]


class Ranked(NamedTuple):
    """What the metrics look at.

    `grades` (queries, ranks): the judgment of the document at each rank, 0 for unjudged ones and behind the end of a
    list. `best` (queries, judged): all grades above 0 of the query in falling order, of documents outside the list
    too, so that what first-stage retrieval missed counts as lost; 0 behind the last. A grade above 0 is relevant.
    """

    grades: Array
    best: Array

    @property
    def relevant(self) -> Array:
        """Relevant documents of each query, in the list or not: shape (queries,)."""
        return _count(self.best > 0)


Metric = Callable[[Ranked, int | None], Array]
"""One figure per query from the first k ranks, or from all of them: shape (queries,). Without relevant documents 0."""


def ndcg(ranked: Ranked, k: int | None = 10) -> Array:
    """nDCG@k with linear gain: sum of grade / log2(rank + 1), over that of the best order of all judged documents.

    Source: Järvelin and Kekäläinen, 2002; linear gain and grades below 0 as 0, as in trec_eval.
    """
    return _share(_dcg(ranked.grades[:, :k]), _dcg(ranked.best[:, :k]))


def reciprocal_rank(ranked: Ranked, k: int | None = 10) -> Array:
    """1 / rank of the first relevant document among the first k, else 0. Its mean is MRR@k."""
    hits = ranked.grades[:, :k] > 0
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1.0), 0.0)


def average_precision(ranked: Ranked, k: int | None = None) -> Array:
    """Sum of the precision at each relevant document's rank, over the number of all relevant documents."""
    hits = ranked.grades[:, :k] > 0
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return _share((precision * hits).sum(axis=1), ranked.relevant)


def recall(ranked: Ranked, k: int | None = None) -> Array:
    """Share of all relevant documents that are among the first k."""
    return _share(_hits(ranked, k), ranked.relevant)


def precision(ranked: Ranked, k: int | None = None) -> Array:
    """Share of relevant documents among the first k ranks, of which those behind the end of a list hold none.

    Without k at the rank R, the number of the query's relevant documents: R-precision.
    """
    if k is not None:
        return _hits(ranked, k) / k
    within = np.arange(ranked.grades.shape[1]) < ranked.relevant[:, None]
    return _share(_count((ranked.grades > 0) & within), ranked.relevant)


def success(ranked: Ranked, k: int | None = 10) -> Array:
    """1 if one of the first k documents is relevant, else 0."""
    return (_hits(ranked, k) > 0).astype(np.float64)


METRICS: dict[str, Metric] = {
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "recall": recall,
    "precision": precision,
    "success": success,
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric of the table at a cutoff; without one it reads the whole list."""

    metric: str
    k: int | None

    def __str__(self) -> str:
        return self.metric if self.k is None else f"{self.metric}@{self.k}"

    def of(self, ranked: Ranked) -> Array:
        """One figure per query."""
        return METRICS[self.metric](ranked, self.k)


def measures(names: Iterable[str]) -> list[Measure]:
    """Measures by name, as in "ndcg@10" and "map"; each once. Raises ConfigError."""
    return list(dict.fromkeys(_measure(name) for name in names))


def order(scores: Sequence[float] | NDArray[np.floating]) -> NDArray[np.int64]:
    """Positions by falling score along the last axis, ties by position."""
    return np.argsort(-np.asarray(scores, dtype=np.float64), axis=-1, kind="stable")


def _measure(name: str) -> Measure:
    metric, at, cutoff = name.strip().lower().partition("@")
    if metric not in METRICS:
        raise ConfigError(f"measure {name!r}: no such metric; it must be one of {', '.join(METRICS)}, as in ndcg@10")
    if at and not (cutoff.isdecimal() and int(cutoff) > 0):
        raise ConfigError(f"measure {name!r}: the number of ranks behind @ must be 1 or more, as in {metric}@10")
    return Measure(metric, int(cutoff) if at else None)


def _hits(ranked: Ranked, k: int | None) -> Array:
    return _count(ranked.grades[:, :k] > 0)


def _count(hits: NDArray[np.bool_]) -> Array:
    return np.asarray(hits.sum(axis=1), dtype=np.float64)


def _dcg(grades: Array) -> Array:
    gains: Array = np.maximum(grades, 0.0) / np.log2(np.arange(2, grades.shape[1] + 2))
    return np.asarray(gains.sum(axis=1))


def _share(part: Array, whole: Array) -> Array:
    """0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
