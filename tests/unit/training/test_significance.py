"""Paired tests and intervals: exact values worked by hand, SciPy, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from training.significance import PERMUTATIONS, bootstrap, compare, permutation_p, t_test_p


def column(values: list[float]) -> np.ndarray:
    return np.array(values)[:, None]


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0, 1.0, 1.0], 2 / 8),  # only +++ and --- reach 3
        ([1.0, 2.0, 3.0, -4.0], 14 / 16),  # the sum is 2; only 1 + 4 - 2 - 3 and its opposite are nearer to 0
        ([0.0, 0.0, 0.0], 1.0),
        ([0.5], 1.0),
        ([0.1, 0.2, 0.3, 0.0], 4 / 16),  # a query without difference changes nothing
        ([1.0, -1.0], 1.0),
    ],
)
def test_exact_p_values_worked_by_hand(differences: list[float], p: float) -> None:
    assert permutation_p(column(differences))[0] == p


@pytest.mark.parametrize("seed", range(20))
def test_exact_p_values_equal_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.3, 1, rng.integers(2, 12)).round(int(rng.integers(1, 4)))
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert permutation_p(differences[:, None])[0] == pytest.approx(expected.pvalue, abs=1e-12)


def test_drawn_p_values_are_near_the_exact_one_and_never_0() -> None:
    differences = np.random.default_rng(3).normal(0.35, 1, 16)
    exact = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    error = math.sqrt(exact * (1 - exact) / PERMUTATIONS)
    drawn = permutation_p(differences[:, None])[0]
    assert 0.01 < exact < 0.99
    assert drawn == pytest.approx(exact, abs=4 * error)
    assert drawn == permutation_p(differences[:, None])[0]
    assert drawn != permutation_p(differences[:, None], seed=1)[0]
    assert permutation_p(np.ones((300, 1)))[0] == 1 / (PERMUTATIONS + 1)


def test_p_values_hold_their_level_where_nothing_differs() -> None:
    """Of 400 comparisons without a difference, 5 % are found at 0.05."""
    differences = np.random.default_rng(0).normal(0, 1, (60, 400))
    assert np.mean(permutation_p(differences) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_draws_in_small_blocks_are_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by a block, however many queries there are."""
    differences = np.random.default_rng(0).normal(0.1, 1, (50, 2))
    whole = permutation_p(differences), bootstrap(differences)
    monkeypatch.setattr("training.significance.BLOCK", 50 * 7)
    assert permutation_p(differences) == pytest.approx(whole[0], abs=0.03)
    assert np.allclose(bootstrap(differences), whole[1], atol=0.02)
    assert permutation_p(np.ones((50, 1)))[0] == 1 / (PERMUTATIONS + 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_t_test_equals_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 30, 3))
    expected = stats.ttest_rel(second, first).pvalue
    assert t_test_p(second - first) == pytest.approx(expected, rel=1e-9)


def test_the_t_test_of_too_little() -> None:
    assert math.isnan(t_test_p(column([0.3]))[0])
    assert t_test_p(column([0.0, 0.0]))[0] == 1.0
    assert t_test_p(column([0.5, 0.5]))[0] == 0.0


def test_bootstrap_intervals_are_those_of_the_normal_distribution_for_many_queries() -> None:
    values = np.random.default_rng(1).random((2000, 1))
    half = 1.96 * values.std() / math.sqrt(len(values))
    (interval,) = bootstrap(values)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_bootstrap_intervals_of_two_queries_are_known_exactly() -> None:
    """Means of two draws from {0, 1}: 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4."""
    values = column([0.0, 1.0])
    assert bootstrap(values)[0] == (0.0, 1.0)
    assert bootstrap(values, level=0.4)[0] == (0.5, 0.5)


def test_bootstrap_intervals_agree_with_scipys() -> None:
    values = np.random.default_rng(2).exponential(size=80)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    (interval,) = bootstrap(values[:, None])
    assert interval == pytest.approx((expected.low, expected.high), abs=0.02)


def test_a_comparison_is_second_minus_first_with_paired_intervals() -> None:
    """Where one ranker is better by the same amount everywhere the interval has no width, however queries differ."""
    first = np.random.default_rng(0).random((40, 2))
    better, equal = compare(first, first + np.array([0.1, 0.0]))
    assert better.difference == pytest.approx(0.1)
    assert better.interval == pytest.approx((0.1, 0.1))
    assert better.p_permutation < 0.001
    assert better.p_t < 0.001
    assert (equal.difference, equal.p_permutation, equal.p_t) == (0.0, 1.0, 1.0)
