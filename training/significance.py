"""What differences between rankings are worth: paired tests and confidence intervals over queries."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PERMUTATIONS = 10_000
RESAMPLES = 5_000
LEVEL = 0.95
BLOCK = 1 << 22
"""Random numbers held at once."""
TIE = 1e-9
"""Share of the sum of all differences by which sums that are equal may differ through rounding."""


class Interval(NamedTuple):
    """Bounds of a confidence interval."""

    low: float
    high: float


class Comparison(NamedTuple):
    """A paired comparison of two rankers by one measure: second minus first."""

    difference: float
    interval: Interval
    p_permutation: float
    p_t: float


def permutation_p(differences: Array, permutations: int = PERMUTATIONS, seed: int = 0) -> Array:
    """Two-sided p-values of Fisher's paired randomisation test; `differences` (queries, columns) to (columns,).

    Under the null hypothesis each query's difference could as well have had the other sign: p is the share of sign
    assignments whose sum is at least as far from 0 as the observed one. All 2^queries are counted where they are no
    more than `permutations`; otherwise that many are drawn, and the observed one counts as drawn too, so that p is
    never 0. All columns see the same signs.
    Source: Fisher, 1935; for retrieval Smucker, Allan and Carterette, 2007; (b + 1) / (n + 1): Phipson and Smyth, 2010.
    """
    queries = len(differences)
    observed = np.abs(differences.sum(axis=0)) - TIE * np.abs(differences).sum(axis=0)
    exact = queries < 63 and 2**queries <= permutations
    total = 2**queries if exact else permutations
    rng = np.random.default_rng(seed)
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    step = max(1, BLOCK // max(queries, 1))
    for start in range(0, total, step):
        rows = min(step, total - start)
        signs = _all_signs(start, rows, queries) if exact else rng.integers(0, 2, (rows, queries), dtype=np.int8)
        sums = (signs * 2.0 - 1.0) @ differences
        extreme += np.count_nonzero(np.abs(sums) >= observed, axis=0)
    return extreme / total if exact else (extreme + 1) / (total + 1)


def t_test_p(differences: Array) -> Array:
    """Two-sided p-values of the paired t-test; `differences` (queries, columns) to (columns,), NaN for one query."""
    from scipy.special import stdtr

    queries = len(differences)
    if queries < 2:
        return np.full(differences.shape[1], math.nan)
    mean = differences.mean(axis=0)
    error = differences.std(axis=0, ddof=1) / math.sqrt(queries)
    # Without any spread: no difference at all is no evidence, the same one everywhere is as much as there can be.
    t = np.divide(mean, error, out=np.where(np.isclose(mean, 0), 0.0, np.inf), where=error > 0)
    return np.asarray(2 * stdtr(queries - 1, -np.abs(t)), dtype=np.float64)


def bootstrap(values: Array, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> list[Interval]:
    """Percentile bootstrap intervals of the column means; `values` (queries, columns), one interval per column.

    Queries are drawn with replacement, the same for all columns, so that intervals of differences are paired.
    Source: Efron, 1979; Sakai, 2006, for retrieval.
    """
    queries = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, BLOCK // max(queries, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, queries, (rows, queries)) + np.arange(rows)[:, None] * queries
        counts = np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries)
        means[start : start + rows] = counts @ values / queries
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def compare(first: Array, second: Array, seed: int = 0) -> list[Comparison]:
    """`second` against `first`, figures per query and measure (queries, measures): one comparison per measure."""
    differences = second - first
    p_values = permutation_p(differences, seed=seed), t_test_p(differences)
    rows = zip(differences.mean(axis=0), bootstrap(differences, seed=seed), *p_values, strict=True)
    return [Comparison(float(mean), interval, float(p), float(t)) for mean, interval, p, t in rows]


def _all_signs(start: int, rows: int, queries: int) -> NDArray[np.int64]:
    """Bits of the numbers from `start`: shape (rows, queries)."""
    return (np.arange(start, start + rows)[:, None] >> np.arange(queries)) & 1
