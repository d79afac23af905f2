"""Ranking metrics against values worked by hand, and against ir-measures (trec_eval)."""

from __future__ import annotations

import math
from typing import Any

import ir_measures
import numpy as np
import pytest

from app.errors import ConfigError
from training.metrics import (
    Ranked,
    average_precision,
    measures,
    ndcg,
    order,
    precision,
    recall,
    reciprocal_rank,
    success,
)

CUTOFFS = (1, 3, 5, 10, 20, 1000)
PROVIDED = {
    "ndcg": ir_measures.nDCG,
    "mrr": ir_measures.RR,
    "map": ir_measures.AP,
    "recall": ir_measures.R,
    "precision": ir_measures.P,
    "success": ir_measures.Success,
}


def one(grades: list[float], judged: list[float]) -> Ranked:
    """A single query."""
    return Ranked(np.array([grades], dtype=float), np.array([sorted(judged, reverse=True)], dtype=float))


def random_case(seed: int) -> tuple[Ranked, list[Any], list[Any]]:
    """Rankings of 40 queries, and the same as ir-measures takes them.

    Grades -1 to 3, half of the documents unjudged, lists of unequal length, relevant documents that no list holds,
    scores with many ties, and queries without a relevant document.
    """
    rng = np.random.default_rng(seed)
    width, documents = 25, 60
    grades, best = np.zeros((40, width)), np.zeros((40, documents))
    qrels, run = [], []
    for query in range(40):
        judged = {int(i): int(rng.integers(-1, 4)) for i in rng.choice(documents, rng.integers(1, 30), replace=False)}
        if query % 10 == 0:
            judged = dict.fromkeys(judged, 0)
        listed = rng.choice(documents, rng.integers(1, width + 1), replace=False)
        ranked = listed[order(rng.integers(0, 5, len(listed)).astype(np.float32))]
        grades[query, : len(ranked)] = [judged.get(int(i), 0) for i in ranked]
        relevant = sorted((grade for grade in judged.values() if grade > 0), reverse=True)
        best[query, : len(relevant)] = relevant
        qrels += [ir_measures.Qrel(str(query), f"d{i}", grade) for i, grade in judged.items()]
        run += [ir_measures.ScoredDoc(str(query), f"d{i}", -float(rank)) for rank, i in enumerate(ranked)]
    return Ranked(grades, best), qrels, run


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", [f"{name}@{k}" for name in PROVIDED for k in CUTOFFS] + ["ndcg", "mrr", "map"])
def test_metrics_equal_trec_eval(name: str, seed: int) -> None:
    """Per query, on graded runs with ties, which are in the order of the input, unjudged and missed documents."""
    ranked, qrels, run = random_case(seed)
    metric, _, k = name.partition("@")
    theirs = PROVIDED[metric] @ int(k) if k else PROVIDED[metric]
    expected = {row.query_id: row.value for row in ir_measures.iter_calc([theirs], qrels, run)}
    (measure,) = measures([name])
    ours = measure.of(ranked)
    assert len(expected) == len(ours)
    assert ours == pytest.approx([expected[str(query)] for query in range(len(ours))], abs=1e-6)


def test_precision_without_a_cutoff_is_r_precision() -> None:
    ranked, qrels, run = random_case(0)
    expected = {row.query_id: row.value for row in ir_measures.iter_calc([ir_measures.Rprec], qrels, run)}
    assert precision(ranked) == pytest.approx([expected[str(query)] for query in range(40)], abs=1e-6)


def test_ndcg_of_a_hand_worked_example() -> None:
    found = 3 / math.log2(2) + 1 / math.log2(4)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(one([3, 0, 1], [3, 2, 1])) == pytest.approx(found / best)


def test_ndcg_counts_relevant_documents_that_retrieval_missed() -> None:
    assert ndcg(one([1], [1])) == 1.0
    assert ndcg(one([1], [1, 1])) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_cutoffs_look_at_the_first_ranks_only() -> None:
    late = one([0, 0, 1], [1])
    for metric in (ndcg, reciprocal_rank, average_precision, recall, precision, success):
        assert metric(late, 2) == 0.0
        assert metric(late, 3) > 0.0


def test_average_precision_of_a_hand_worked_example() -> None:
    assert average_precision(one([1, 0, 1, 0], [1, 1, 1])) == pytest.approx((1 / 1 + 2 / 3) / 3)


def test_without_relevant_documents_every_metric_is_0() -> None:
    for metric in (ndcg, reciprocal_rank, average_precision, recall, precision, success):
        assert metric(one([0, 0], [0]), None) == 0.0


def test_ties_keep_the_order_of_the_input() -> None:
    assert order(np.array([0.5, 0.9, 0.5, 0.9], dtype=np.float32)).tolist() == [1, 3, 0, 2]
    scores = np.random.default_rng(0).integers(0, 3, (4, 500))
    assert order(scores).tolist() == [sorted(range(500), key=lambda i: -row[i]) for row in scores]


def test_measures_are_read_by_name_each_once() -> None:
    assert [str(measure) for measure in measures(["nDCG@5", "map", "ndcg@5"])] == ["ndcg@5", "map"]


@pytest.mark.parametrize("name", ["dcg@10", "ndcg@", "ndcg@0", "ndcg@ten", ""])
def test_a_measure_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"measure '.*': .*as in ndcg@10"):
        measures([name])
