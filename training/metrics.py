"""Ranking metrics of one query. `grades` are the judgments of its documents in ranked order, unjudged ones 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ranking(scores: NDArray[np.floating]) -> list[int]:
    """Positions by falling score, ties by position: shape (documents,)."""
    return [int(i) for i in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")]


def ndcg(grades: Sequence[float], judged: Sequence[float], k: int = 10) -> float:
    """nDCG@k with linear gain: sum of grade / log2(rank + 1), over that of the best order of `judged`.

    `judged` are all grades of the query, of documents outside the list too: what first-stage retrieval missed
    counts as lost. Source: Järvelin and Kekäläinen, 2002; linear gain as in trec_eval.
    """
    best = _dcg(sorted((grade for grade in judged if grade > 0), reverse=True)[:k])
    return _dcg(grades[:k]) / best if best else 0.0


def reciprocal_rank(grades: Sequence[float], k: int = 10) -> float:
    """1 / rank of the first relevant document among the first k, else 0. Its mean is MRR@k."""
    return next((1.0 / rank for rank, grade in enumerate(grades[:k], start=1) if grade > 0), 0.0)


def average_precision(grades: Sequence[float], relevant: int) -> float:
    """Mean precision at the ranks of the relevant documents, of which there are `relevant` in all."""
    found, total = 0, 0.0
    for rank, grade in enumerate(grades, start=1):
        if grade > 0:
            found += 1
            total += found / rank
    return total / relevant if relevant else 0.0


def _dcg(grades: Sequence[float]) -> float:
    return sum(max(grade, 0.0) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
