"""Metrics of ranked lists against scikit-learn, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from training.cross_encoder.evaluation.rank_metrics import average_precision, ranking_metrics


@st.composite
def lists(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(2, 30))
    scores = draw(st.lists(st.integers(-4, 40), min_size=size, max_size=size))
    grades = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return np.array(scores, dtype=np.float32) / 8, np.array(grades, dtype=np.float64)


@given(st.lists(lists(), min_size=1, max_size=8), st.integers(1, 12))
def test_many_lists_at_once_give_what_scikit_learn_gives_for_each(
    many: list[tuple[np.ndarray, np.ndarray]], k: int
) -> None:
    found = ranking_metrics([scores for scores, _ in many], [grades for _, grades in many], k)
    for (scores, grades), (ap, mrr, ndcg) in zip(many, found, strict=True):
        if not grades.any():
            assert (ap, mrr, ndcg) == (0, 0, 0)
            continue
        assert ap == average_precision_score(grades > 0, scores)
        assert ndcg == pytest.approx(ndcg_score([grades], [scores], k=k), rel=1e-12)
        order = np.argsort(scores)[::-1]
        first = int(np.flatnonzero(grades[order] > 0)[0])
        assert mrr == (1 / (first + 1) if first < k else 0)


@given(st.lists(st.tuples(st.integers(-4, 9), st.integers(0, 1)), min_size=2, max_size=60))
def test_average_precision_equals_scikit_learn(rows: list[tuple[int, int]]) -> None:
    scores, labels = np.array(rows, dtype=np.float32).T
    if labels.any():
        assert average_precision(scores, labels) == average_precision_score(labels, scores)


def test_a_hand_worked_list() -> None:
    ap, mrr, ndcg = ranking_metrics([np.array([0.9, 0.8, 0.7])], [np.array([0.0, 2.0, 1.0])], 10)[0]
    assert ap == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert mrr == 0.5
    assert ndcg == pytest.approx((2 / np.log2(3) + 1 / 2) / (2 + 1 / np.log2(3)))


def test_all_equal_scores_earn_the_mean_of_all_orders() -> None:
    _, _, ndcg = ranking_metrics([np.zeros(3)], [np.array([1.0, 0.0, 0.0])], 10)[0]
    assert ndcg == pytest.approx((1 + 1 / np.log2(3) + 1 / 2) / 3)


def test_a_single_document_and_an_empty_list() -> None:
    found = ranking_metrics([np.array([0.3]), np.array([])], [np.array([1.0]), np.array([])], 10)
    assert found.tolist() == [[1, 1, 1], [0, 0, 0]]
