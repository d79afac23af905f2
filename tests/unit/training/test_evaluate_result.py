"""Figures of rankings by rerank depth, against a direct computation."""

from __future__ import annotations

import numpy as np
import pytest

from training.candidates import Task
from training.evaluate_lists import Lists, curve_depths, reranked
from training.evaluate_result import Result, measure
from training.evaluate_runs import falling, run_scores
from training.metrics import measures

NAMES = ("ndcg@10", "mrr@10", "map", "recall@5")


def random_task(seed: int = 0, queries: int = 20) -> tuple[Task, np.ndarray]:
    """Lists of 1 to 30 documents with grades 0 to 3, more relevant ones elsewhere, and scores with many ties."""
    rng = np.random.default_rng(seed)
    corpus = {f"d{i}": f"text {i}" for i in range(60)}
    candidates, qrels, scores = {}, {}, {}
    for query in range(queries):
        listed = [f"d{i}" for i in rng.choice(60, rng.integers(1, 31), replace=False)]
        judged = {f"d{i}": float(rng.integers(0, 4)) for i in rng.choice(60, 20, replace=False)}
        candidates[f"q{query}"], qrels[f"q{query}"] = listed, judged | {"d0": 1.0}
        scores[f"q{query}"] = -np.arange(len(listed), dtype=np.float32)
    task = Task("random", corpus, {key: key for key in candidates}, candidates, qrels, "bm25", scores)
    return task, rng.integers(0, 6, sum(map(len, candidates.values()))).astype(np.float32)


def measured(task: Task, scores: np.ndarray, depth: int = 100, depths: tuple[int, ...] = ()) -> Result:
    """The figures of one ranker."""
    return measure(task, {"model": scores}, measures(NAMES), depth, depths)


def cut(task: Task, scores: np.ndarray, depth: int) -> np.ndarray:
    """Scores that keep the order of the first `depth` documents and put the rest behind them, as a reranker of so
    many would."""
    sizes = [len(names) for names in task.candidates.values()]
    lists = np.split(scores.astype(np.float64), np.cumsum(sizes)[:-1])
    for own in lists:
        own[depth:] = -100 - np.arange(len(own[depth:]))
    return np.concatenate(lists).astype(np.float32)


@pytest.mark.parametrize("depth", [1, 2, 5, 17, 30])
def test_a_rerank_depth_leaves_the_rest_behind_in_first_stage_order(depth: int) -> None:
    """Each depth of a curve, from scores that were computed once, is what reranking so many alone would give."""
    task, scores = random_task()
    alone = measured(task, cut(task, scores, depth)).means("model")
    assert measured(task, scores, depth).means("model") == pytest.approx(alone)
    curve = measured(task, scores, 30, (1, 2, 5, 17)).curve
    assert curve.means["model"][curve.depths.index(depth)] == pytest.approx(alone["ndcg@10"])


def test_equal_scores_keep_the_order_of_the_first_stage() -> None:
    task, scores = random_task()
    result = measured(task, np.zeros_like(scores))
    assert np.array_equal(result.values["model"], result.values["bm25"])
    assert all(one.p_permutation == 1 for one in result.comparisons["bm25", "model"])


def test_perfect_and_worst_rankings_of_full_lists() -> None:
    names = [f"d{i}" for i in range(8)]
    task = Task("one", {}, {"q": "q"}, {"q": names}, {"q": {"d5": 1.0}}, "bm25", {"q": np.zeros(8, np.float32)})
    best = np.array([float(name == "d5") for name in names], dtype=np.float32)
    perfect, worst = (measured(task, sign * best).means("model") for sign in (1, -1))
    assert perfect == {"ndcg@10": 1.0, "mrr@10": 1.0, "map": 1.0, "recall@5": 1.0}
    assert worst == pytest.approx({"ndcg@10": 0.31546, "mrr@10": 0.125, "map": 0.125, "recall@5": 0.0}, abs=1e-5)


def test_a_reranker_that_is_fooled_by_deep_documents_gets_worse_with_depth() -> None:
    """The first document is the right one; the last one of the list gets the best score."""
    names = [f"d{i}" for i in range(40)]
    keys = [f"q{i}" for i in range(20)]
    task = Task(
        "deep",
        {},
        {key: key for key in keys},
        dict.fromkeys(keys, names),
        {key: {"d0": 1.0} for key in keys},
        "bm25",
        dict.fromkeys(keys, np.zeros(40, np.float32)),
    )
    scores = np.tile(np.where(np.arange(40) == 39, 9.0, -np.arange(40.0)), 20).astype(np.float32)
    curve = measured(task, scores, 40, (10, 20)).curve
    assert (curve.depths, curve.start) == ((10, 20, 40), 1.0)
    assert curve.means["model"] == pytest.approx([1.0, 1.0, 0.6309], abs=1e-4)
    assert curve.gains["model"][-1] == pytest.approx((-0.3691, -0.3691), abs=1e-4)


def test_depths_beyond_the_lists_are_their_length() -> None:
    assert curve_depths((10, 20, 50), 100, 30) == (10, 20, 30)
    assert curve_depths((10, 20), 15, 200) == (10, 15, 20)


def test_lists_of_unequal_length_are_padded_behind() -> None:
    task, scores = random_task()
    lists = Lists.of(task)
    positions = reranked(lists.place(scores), 10)
    for row, size in zip(positions, lists.sizes, strict=True):
        assert sorted(row[:size]) == list(range(size))


def test_scores_in_a_run_file_fall_strictly_in_float32() -> None:
    scores = falling(np.array([3.0, 3.0, 3.0, 2.9999999, -1.0]))
    assert scores.dtype == np.float32
    assert (np.diff(scores) < 0).all()
    assert scores == pytest.approx([3.0, 3.0, 3.0, 3.0, -1.0], abs=1e-6)
    assert run_scores(np.array([2.0, -1.0, 9.0, 9.0]), depth=2).tolist() == [2.0, -1.0, -2.0, -3.0]


def test_candidates_without_a_score_fall_behind_the_others_in_a_run_file() -> None:
    """A first stage that does not know some of a pool; equal or infinite scores would be read back in another order."""
    scores = falling(np.array([2.0, -3.0, -np.inf, -np.inf, -np.inf]))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) < 0).all()
    assert scores[:2].tolist() == [2.0, -3.0]
    assert np.isfinite(falling(np.array([-np.inf, -np.inf]))).all()
