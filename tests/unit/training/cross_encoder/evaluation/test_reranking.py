"""The reranking evaluator against sentence-transformers 6.2, and what it does beyond it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator as Reference

from tests.unit.training.cross_encoder.evaluation.fakes import FakeModel, assert_same
from training.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

TEXTS = [f"text {i}" for i in range(24)]
TITLES = {"p1": 4.0, "p2": 3.0, "n1": 2.0, "n2": 1.0}


def by_title(_query: str, text: str) -> float:
    """A model that ranks p1, p2, n1, n2."""
    return TITLES[text]


@st.composite
def samples(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for i in range(draw(st.integers(1, 5))):
        order = draw(st.permutations(TEXTS))
        positives, others = draw(st.integers(0, 3)), draw(st.integers(2, 20))
        sample: dict[str, Any] = {"query": f"query {i}", "positive": order[:positives]}
        if draw(st.booleans()):
            start = draw(st.integers(0, 3))
            sample["documents"] = sorted(order[start : start + others])
        else:
            sample["negative"] = order[positives : positives + others]
        found.append(sample)
    return found


def coarse(query: str, text: str) -> float:
    """Scores with ties."""
    return sum(map(ord, query + text)) * 7 % 5 / 4


def fine(query: str, text: str) -> float:
    """Scores without ties."""
    return (int(text.split()[1]) * 11 + int(query.split()[1])) % 24 / 24


@settings(max_examples=60)
@given(samples(), st.sampled_from([coarse, fine]), st.sampled_from([1, 3, 10]), st.sampled_from(["", "dev"]))
def test_random_samples(data: list[dict[str, Any]], scores: Any, k: int, name: str) -> None:
    ours = CrossEncoderRerankingEvaluator(data, at_k=k, name=name)
    with tempfile.TemporaryDirectory() as directory:
        assert_same(ours, Reference(data, at_k=k, name=name), scores, Path(directory))


@settings(max_examples=20)
@given(samples(), st.sampled_from([coarse, fine]))
def test_random_samples_in_the_realistic_mode_where_nothing_was_missed(data: list[dict[str, Any]], scores: Any) -> None:
    for sample in data:
        if "documents" in sample:
            sample["positive"] = sample["documents"][: len(sample["positive"])]
    ours = CrossEncoderRerankingEvaluator(data, always_rerank_positives=False)
    with tempfile.TemporaryDirectory() as directory:
        assert_same(ours, Reference(data, always_rerank_positives=False), scores, Path(directory))


def test_repeated_texts_count_as_in_the_library(tmp_path: Path) -> None:
    data = [
        {"query": "q 1", "positive": ["text 1", "text 1"], "documents": ["text 3", "text 1", "text 4"]},
        {"query": "q 2", "positive": ["text 1", "text 2"], "documents": ["text 1", "text 3", "text 1"]},
        {"query": "q 3", "positive": "text 5", "negative": ["text 5", "text 6"]},
    ]
    assert_same(CrossEncoderRerankingEvaluator(data), Reference(data), fine, tmp_path)


def test_ties_of_long_lists_are_ordered_as_in_the_library(tmp_path: Path) -> None:
    data = [{"query": f"query {i}", "positive": TEXTS[:2], "negative": TEXTS[2 + i :]} for i in range(5)]
    assert_same(CrossEncoderRerankingEvaluator(data, at_k=24), Reference(data, at_k=24), coarse, tmp_path)


def test_realistic_mode_counts_positives_that_the_retriever_missed() -> None:
    """6.2 reports 1.0 for a perfect reranker that can reach one of two positives (pull request 4054)."""
    data = [{"query": "q", "positive": ["p1", "p2"], "documents": ["n1", "p1", "n2"]}]
    wrong = Reference(data, always_rerank_positives=False, write_csv=False)(FakeModel(by_title))
    assert wrong["ndcg@10"] == wrong["map"] == 1
    found = CrossEncoderRerankingEvaluator(data, always_rerank_positives=False)(FakeModel(by_title))
    assert found["map"] == pytest.approx((1 + 2 / 4) / 2)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3)))
    assert found["mrr@10"] == 1


@settings(max_examples=30)
@given(samples())
def test_a_model_that_keeps_the_retrievers_order_scores_like_the_retriever(data: list[dict[str, Any]]) -> None:
    data = [{"query": f"query {i}", **_with_documents(sample)} for i, sample in enumerate(data)]
    order = {(s["query"], text): -rank for s in data for rank, text in enumerate(s["documents"])}
    found = CrossEncoderRerankingEvaluator(data, always_rerank_positives=False)(
        FakeModel(lambda query, text: order[query, text])
    )
    for metric in ("map", "mrr@10", "ndcg@10"):
        assert found[metric] == found[f"base_{metric}"]


def _with_documents(sample: dict[str, Any]) -> dict[str, Any]:
    return {"positive": sample["positive"], "documents": sample.get("documents") or sample["negative"]}


def test_missed_positives_stay_below_scores_of_any_size() -> None:
    data = [{"query": "q", "positive": ["p1", "p2"], "documents": ["n1", "p1", "n2"]}]
    evaluator = CrossEncoderRerankingEvaluator(data, always_rerank_positives=False)
    scores = {"p1": 3e38, "n1": -3e38, "n2": -3e38}
    assert evaluator(FakeModel(lambda _, text: scores[text]))["map"] == pytest.approx(0.75)


def test_graded_relevance_is_the_gain_of_ndcg() -> None:
    data = [{"query": "q", "positive": {"p1": 1, "p2": 3}, "negative": ["n1"]}]
    found = CrossEncoderRerankingEvaluator(data)(FakeModel(by_title))
    assert found["ndcg@10"] == pytest.approx((1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3)))
    assert found["map"] == found["mrr@10"] == 1


def test_grades_may_stand_beside_the_texts() -> None:
    by_dict = [{"query": "q", "positive": {"p2": 2, "p1": 1}, "documents": ["n2", "p2"]}]
    by_list = [{"query": "q", "positive": ["p2", "p1"], "relevance": [2, 1], "documents": ["n2", "p2"]}]
    for mode in (True, False):
        results = [
            CrossEncoderRerankingEvaluator(data, always_rerank_positives=mode)(FakeModel(by_title))
            for data in (by_dict, by_list)
        ]
        assert results[0] == results[1]
    gain = 2 + 1 / np.log2(4)
    assert results[0]["ndcg@10"] == pytest.approx(gain / (2 + 1 / np.log2(3)))


def test_a_query_without_positives_scores_0_and_is_not_sent_to_the_model() -> None:
    data = [
        {"query": "q", "positive": [], "negative": ["n1"]},
        {"query": "q", "positive": ["p1"], "negative": ["n1"]},
    ]
    model = FakeModel(by_title)
    assert CrossEncoderRerankingEvaluator(data)(model) == {"map": 0.5, "mrr@10": 0.5, "ndcg@10": 0.5}
    assert model.calls[0][0] == [["q", "p1"], ["q", "n1"]]
    nothing = CrossEncoderRerankingEvaluator(data[:1])(FakeModel(by_title))
    assert nothing == {"map": 0, "mrr@10": 0, "ndcg@10": 0}


def test_a_list_of_one_document_is_ranked() -> None:
    """6.2 ends with scikit-learn's "Computing NDCG is only meaningful when there is more than 1 document"."""
    data = [{"query": "q", "positive": "p1", "negative": []}]
    assert CrossEncoderRerankingEvaluator(data)(FakeModel(by_title))["ndcg@10"] == 1


def test_a_retriever_that_found_nothing() -> None:
    data = [{"query": "q", "positive": "p1", "documents": []}]
    found = CrossEncoderRerankingEvaluator(data)(FakeModel(by_title))
    assert (found["ndcg@10"], found["base_ndcg@10"]) == (1, 0)
    assert CrossEncoderRerankingEvaluator(data, always_rerank_positives=False)(FakeModel(by_title))["ndcg@10"] == 0


def test_all_lists_are_scored_in_one_call() -> None:
    data = {i: {"query": f"q{i}", "positive": {"p1", "p2"}, "negative": {"n1"}} for i in range(3)}
    model = FakeModel(by_title)
    CrossEncoderRerankingEvaluator(data, batch_size=5, prompt_name="task")(model)
    assert len(model.calls) == 1
    assert model.calls[0][0][:3] == [["q0", "p1"], ["q0", "p2"], ["q0", "n1"]]
    options = {"prompt_name": "task", "batch_size": 5, "show_progress_bar": False, "convert_to_numpy": True}
    assert model.calls[0][1] == options


def test_mrr_at_k_is_the_old_name_of_at_k(caplog: pytest.LogCaptureFixture) -> None:
    evaluator = CrossEncoderRerankingEvaluator([{"query": "q", "positive": "p1", "negative": ["n1"]}], mrr_at_k=3)
    assert evaluator.primary_metric == "ndcg@3"
    assert "use `at_k=3`" in caplog.text


def test_compute_metrics_of_one_list() -> None:
    evaluator = CrossEncoderRerankingEvaluator([{"query": "q", "positive": "p1", "negative": ["n1"]}])
    reference = Reference([], write_csv=False)
    assert evaluator.compute_metrics([0, 1, 1], [0.3, 0.2, 0.1]) == pytest.approx(
        reference.compute_metrics([0, 1, 1], [0.3, 0.2, 0.1])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, "sample 1: a 'query' key is required"),
        ({"positive": None}, "sample 1: a 'positive' key is required"),
        ({"negative": None}, "exactly one of 'negative' and 'documents'"),
        ({"documents": ["n1"]}, "exactly one of 'negative' and 'documents'"),
        ({"relevance": [1, 2]}, "has 2 grades for 1 texts"),
        ({"positive": {"p1": 1}, "relevance": [1]}, "leave out 'relevance'"),
        ({"positive": {"p1": 0}}, "above 0"),
    ],
)
def test_wrong_samples_are_refused_before_training(change: dict[str, Any], message: str) -> None:
    right = {"query": "q", "positive": ["p1"], "negative": ["n1"]}
    wrong = {key: value for key, value in (right | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        CrossEncoderRerankingEvaluator([right, wrong])


def test_no_samples_and_no_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no samples"):
        CrossEncoderRerankingEvaluator([])
    with pytest.raises(ValueError, match="1 or more; got 0"):
        CrossEncoderRerankingEvaluator([{"query": "q", "positive": "p1", "negative": ["n1"]}], at_k=0)


def test_a_model_with_several_outputs_is_refused() -> None:
    evaluator = CrossEncoderRerankingEvaluator([{"query": "q", "positive": "p1", "negative": ["n1"]}])
    with pytest.raises(ValueError, match="use a model with num_labels=1"):
        evaluator(FakeModel(lambda *_: (0.1, 0.2), num_labels=2))
