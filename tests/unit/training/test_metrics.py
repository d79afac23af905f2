"""Ranking metrics against values worked by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.metrics import average_precision, ndcg, ranking, reciprocal_rank


def test_ndcg_of_a_hand_worked_example() -> None:
    found = 3 / math.log2(2) + 1 / math.log2(4)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg([3, 0, 1], [3, 2, 1, 0]) == pytest.approx(found / best)


def test_ndcg_counts_relevant_documents_that_retrieval_missed() -> None:
    assert ndcg([1], [1]) == 1.0
    assert ndcg([1], [1, 1]) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_ndcg_looks_at_the_first_k_only() -> None:
    assert ndcg([0, 0, 1], [1], k=2) == 0.0
    assert ndcg([1, 1], [1, 1, 1], k=2) == 1.0


def test_ndcg_equals_scikit_learn_where_nothing_was_missed() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    for _ in range(50):
        grades, scores = rng.integers(0, 4, 15), rng.permutation(15).astype(float)
        ours = ndcg([float(grades[i]) for i in ranking(scores)], grades.tolist())
        assert ours == pytest.approx(ndcg_score([grades], [scores], k=10) if grades.any() else 0.0)


def test_reciprocal_rank_is_of_the_first_relevant_document() -> None:
    assert reciprocal_rank([0, 0, 2, 1]) == pytest.approx(1 / 3)
    assert reciprocal_rank([0] * 10 + [1]) == 0.0


def test_average_precision_of_a_hand_worked_example() -> None:
    assert average_precision([1, 0, 1, 0], relevant=3) == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert average_precision([0, 0], relevant=0) == 0.0


def test_ties_keep_the_order_of_the_input() -> None:
    assert ranking(np.array([0.5, 0.9, 0.5, 0.9], dtype=np.float32)) == [1, 3, 0, 2]
