"""Metrics of ranked lists, over many lists at once.

Documents with equal scores share their ranks: nDCG takes the mean gain of the group (McSherry and Najork, 2008),
average precision the precision at the group's end. Both sums run over groups, so a list without ties is the case of
groups of one; lists of the same length without ties are computed together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def ranking_metrics(scores: Sequence[Array], grades: Sequence[Array], k: int) -> Array:
    """MAP, MRR@k and nDCG@k of each list: float64, shape (lists, 3); zeros for a list without a grade above 0.

    nDCG has linear gain and the discount log2(rank + 1) (Järvelin and Kekäläinen, 2002). `grades[i]` belong to
    `scores[i]`; a grade above 0 is relevant.
    """
    result = np.zeros((len(scores), 3))
    for lists in _by_length(grades):
        result[lists] = _rectangle(np.stack([scores[i] for i in lists]), np.stack([grades[i] for i in lists]), k)
    return result


def average_precision(scores: Array, labels: Array) -> float:
    """Sum of the precision at each rank times the recall it adds; 0 if there is nothing to find."""
    return float(ranking_metrics([scores], [labels], 1)[0, 0])


def _by_length(grades: Sequence[Array]) -> Iterator[list[int]]:
    groups: dict[int, list[int]] = {}
    for index, own in enumerate(grades):
        if (own > 0).any():
            groups.setdefault(len(own), []).append(index)
    yield from groups.values()


def _rectangle(scores: Array, grades: Array, k: int) -> Array:
    """Metrics of lists of one length: (lists, documents) twice to (lists, 3)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked, gains = np.take_along_axis(scores, order, 1), np.take_along_axis(grades, order, 1)
    discounts = 1 / (np.log(np.arange(scores.shape[1]) + 2) / np.log(2))
    discounts[k:] = 0
    first = (gains > 0).argmax(axis=1)
    tied = (np.diff(ranked, axis=1) == 0).any(axis=1)
    for row in np.flatnonzero(tied):
        first[row] = _first_relevant(scores[row], grades[row])
    result = np.zeros((len(scores), 3))
    result[:, 1] = np.where(first < k, 1 / (first + 1), 0)
    for rows in (np.flatnonzero(~tied), *np.flatnonzero(tied)[:, None]):
        if len(rows):
            ends = np.flatnonzero(np.append(np.diff(ranked[rows[0]]) != 0, True))
            result[rows, 0] = _average_precision(gains[rows] > 0, ends)
            result[rows, 2] = _gain(gains[rows], ends, discounts)
    result[:, 2] /= _best_gain(grades, discounts)
    return result


def _first_relevant(scores: Array, grades: Array) -> int:
    """Place of the first relevant document; among equal scores NumPy's order, from behind, as the library has it."""
    return int((grades[np.argsort(scores)[::-1]] > 0).argmax())


def _average_precision(relevant: Array, ends: Array) -> Array:
    """(lists, documents) in falling order of score, groups of equal scores ending at `ends`, to (lists,)."""
    found = relevant.cumsum(axis=1)[:, ends]
    recall = np.pad(found / found[:, -1:], ((0, 0), (1, 0)))
    precision = found / (ends + 1)
    # Summed from the last group to the first: the order in which scikit-learn rounds.
    added = np.ascontiguousarray(np.diff(recall, axis=1)[:, ::-1] * precision[:, ::-1])
    return added.sum(axis=1)  # type: ignore[no-any-return]


def _gain(gains: Array, ends: Array, discounts: Array) -> Array:
    """Discounted gain of lists in falling order of score, each group of equal scores at its mean gain."""
    starts = np.concatenate([[0], ends[:-1] + 1])
    means = np.add.reduceat(gains, starts, axis=1) / (ends - starts + 1)
    return (means * np.diff(discounts.cumsum()[ends], prepend=0)).sum(axis=1)  # type: ignore[no-any-return]


def _best_gain(grades: Array, discounts: Array) -> Array:
    """Discounted gain of the best order; the few different lists of grades are computed once."""
    falling = -np.sort(-grades, axis=1)
    kinds, which = np.unique(falling, axis=0, return_inverse=True)
    best = np.array([discounts.dot(kind[:, None])[0] for kind in kinds])
    return best[which.reshape(-1)]
