"""Filters, sampling and the teacher, over a retriever whose scores are written down."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from training.mining.options import MiningOptions
from training.mining.pipeline import Mined, mine
from training.mining.positives import Problem, problem_from_pairs
from training.mining.selection import selected
from training.retrieval.hits import Hits, best_first
from training.retrieval.queries import Queries

SCORES = np.array([[0.5, 0.9, 0.6, 0.4, 0.4, 0.1], [0.3, 0.7, 0.2, 0.8, 0.65, 0.0]], dtype=np.float32)
"""Query 0 belongs to document 0, query 1 to document 1."""


class Written:
    """Retriever and scorer in one."""

    def __init__(self, scores: NDArray[np.float32] = SCORES) -> None:
        self.scores = scores
        self.asked: list[tuple[int, int]] = []

    def top(self, queries: Queries, k: int) -> Hits:
        assert list(queries.texts) == [f"q{i}" for i in range(len(self.scores))]
        return best_first(np.broadcast_to(np.arange(self.scores.shape[1]), self.scores.shape), self.scores, k)

    def pair_scores(self, _: Any, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.float32]:
        self.asked += zip(queries.tolist(), documents.tolist(), strict=True)
        return self.scores[queries, documents]


def problem(documents: int = 6) -> Problem:
    texts = [f"d{i}" for i in range(documents)]
    return problem_from_pairs(pa.array(["q0", "q1"]), pa.array(["d0", "d1"]), pa.array(texts))


def mined(rescorer: Any = None, teacher: Any = None, **options: Any) -> Mined:
    given = MiningOptions(**{"num_negatives": 2, **options})
    return mine(problem(), Written(), given, rescorer=rescorer, teacher=teacher)


def test_the_best_that_are_no_positives_equal_ones_by_index() -> None:
    found = mined(num_negatives=4)
    assert found.indices.tolist() == [[1, 2, 3, 4], [3, 4, 0, 2]]
    np.testing.assert_allclose(found.positive_scores, [0.5, 0.7])
    assert (found.candidates, found.skipped) == (10, [])


@pytest.mark.parametrize(
    ("options", "expected", "dropped"),
    [
        ({"absolute_margin": 0.0}, [[3, 4], [4, 0]], 3),
        ({"absolute_margin": 0.06}, [[3, 4], [0, 2]], 4),
        ({"relative_margin": 0.5}, [[5, -1], [0, 2]], 6),
        ({"max_score": 0.62}, [[2, 3], [0, 2]], 3),
        ({"min_score": 0.5}, [[1, 2], [3, 4]], 6),
        ({"percentile": 100.0}, [[2, 3], [4, 0]], 2),
        ({"percentile": 0.0}, [[3, 4], [0, 2]], 4),
    ],
)
def test_each_filter_drops_and_counts(options: dict[str, float], expected: list[list[int]], dropped: int) -> None:
    found = mined(**options, range_max=6)
    assert found.indices.tolist() == expected
    ((name, value),) = options.items()
    assert [(skip.name, skip.value, skip.dropped, skip.of) for skip in found.skipped] == [(name, value, dropped, 10)]
    assert (found.scores == -np.inf).tolist() == (found.indices < 0).tolist()


def test_ranks_count_among_those_that_passed() -> None:
    assert mined(absolute_margin=0.0, range_min=1, range_max=5).indices.tolist() == [[4, 5], [0, 2]]


def test_suspects_are_the_best_that_were_dropped_for_being_near() -> None:
    assert mined(absolute_margin=0.0).suspects.indices.tolist() == [[1], [3]]
    assert mined(max_score=0.85).suspects.indices.tolist() == [[1], [-1]]
    assert mined(min_score=0.85).suspects.indices.tolist() == [[-1], [-1]]


def test_a_rescorer_decides_on_order_and_filters_and_sees_each_pair_once() -> None:
    reverse = Written(np.ascontiguousarray(1 - SCORES))
    found = mined(rescorer=reverse, absolute_margin=0.0, range_max=6)
    assert found.indices.tolist() == [[2, 1], [3, -1]]
    assert sorted(reverse.asked) == [(q, d) for q in range(2) for d in range(6)]
    np.testing.assert_allclose(found.positive_scores, [0.5, 0.3])


def test_a_teacher_only_drops_and_is_asked_about_what_is_left() -> None:
    teacher = Written(np.array([[0.5, 0.9, 0.45, 0, 0, 0], [0, 0.5, 0, 0.2, 0.9, 0]], dtype=np.float32))
    found = mined(teacher=teacher, teacher_margin=0.1, max_score=0.85, range_max=6)
    assert found.indices.tolist() == [[3, 4], [3, 0]]
    np.testing.assert_allclose(found.scores, [[0.4, 0.4], [0.8, 0.3]])
    assert (0, 1) not in teacher.asked
    assert [skip.dropped for skip in found.skipped] == [1, 2]
    assert mined(teacher=teacher, teacher_max_score=0.8).indices.tolist() == [[2, 3], [3, 0]]
    with pytest.raises(ValueError, match="need a teacher"):
        mined(teacher_margin=0.1)


def test_positives_of_unknown_score_bound_nothing() -> None:
    scores = SCORES.copy()
    scores[0, 0] = np.nan  # as in a run file that lacks it
    found = mine(problem(), Written(scores), MiningOptions(num_negatives=2, absolute_margin=0.0))
    assert found.indices.tolist() == [[1, 2], [4, 0]]


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        mined(rescorer=Written(np.full_like(SCORES, np.nan)))


def drawn(rows: int, **options: Any) -> Counter[tuple[int, ...]]:
    """How often which documents come from the candidates 1 to 5 with the scores 0.9, 0.6, 0.4, 0.4 and 0.1."""
    scores = np.tile(np.array([0.9, 0.6, 0.4, 0.4, 0.1], dtype=np.float32), (rows, 1))
    candidates = Hits(np.tile(np.arange(1, 6), (rows, 1)), scores)
    found = selected(candidates, scores > 0, MiningOptions(range_max=4, **options), random.Random(0))
    return Counter(tuple(row) for row in found.indices.tolist())


def test_random_negatives_are_any_of_the_window() -> None:
    seen = drawn(600, sampling_strategy="random", num_negatives=2)
    assert set(seen) == {(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)}
    assert min(seen.values()) > 600 / 6 / 2


@pytest.mark.parametrize("strategy", ["random", "weighted"])
def test_a_seed_draws_the_same_again(strategy: str) -> None:
    options = {"sampling_strategy": strategy, "range_max": 4, "temperature": 1.0}
    found = [mined(seed=seed, **options).indices.tolist() for seed in (1, 1, 2, 3, 4, 5)]
    assert found[0] == found[1]
    assert found[1:] != found[:1] * 5


def test_weighted_negatives_follow_the_softmax_of_their_scores() -> None:
    """Chances are e^(score / 0.5) over their sum; what is outside the window has none."""
    seen = drawn(4_000, sampling_strategy="weighted", temperature=0.5, num_negatives=1)
    weights = np.exp(np.array([0.9, 0.6, 0.4, 0.4]) / 0.5)
    for document, share in enumerate(weights / weights.sum(), start=1):
        assert seen[(document,)] / 4_000 == pytest.approx(share, abs=0.03)
    assert set(drawn(50, sampling_strategy="weighted", temperature=1e-3, num_negatives=2)) == {(1, 2)}


def test_a_share_of_random_negatives_is_neither_positive_nor_mined() -> None:
    seen: set[int] = set()
    for seed in range(50):
        found = mined(num_negatives=4, random_share=0.5, max_score=0.62, seed=seed)
        assert found.indices[:, :2].tolist() == [[2, 3], [0, 2]]
        for query, row in enumerate(found.indices):
            assert len(set(row)) == 4
            assert query not in row
        seen |= set(found.indices[0, 2:].tolist())
        np.testing.assert_array_equal(found.scores, np.take_along_axis(SCORES, found.indices, axis=1))
    assert seen == {1, 4, 5}  # past the filters too


def test_a_corpus_too_small_for_random_negatives_leaves_places_empty() -> None:
    found = mined(num_negatives=8, random_share=0.5, seed=0)
    assert sorted(found.indices[0].tolist()) == [-1, -1, -1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "wrong", [{"random_share": 1.5}, {"percentile": -1.0}, {"temperature": 0.0}, {"num_negatives": 0}]
)
def test_options_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MiningOptions(**wrong)


def test_ranks_are_wide_enough_for_what_is_asked() -> None:
    plain = MiningOptions(num_negatives=3, range_min=2)
    assert plain.resolved(4).range_max == 9
    assert replace(plain, max_score=0.5).resolved(4).range_max == 36
    assert replace(plain, percentile=95).resolved(4).range_max == 36
    assert replace(plain, min_score=0.5).resolved(4).range_max == 9
    assert replace(plain, min_score=0.5).resolved(4, rescored=True).range_max == 36
