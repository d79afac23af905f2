"""The older evaluators: the gaps that sentence-transformers 6.2 has against its own earlier documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers.cross_encoder import evaluation as reference
from sklearn.metrics import average_precision_score, f1_score

from tests.unit.training.cross_encoder.evaluation.fakes import FakeModel
from training import InputExample
from training.cross_encoder.evaluation import (
    CEBinaryAccuracyEvaluator,
    CEBinaryClassificationEvaluator,
    CECorrelationEvaluator,
    CEF1Evaluator,
    CERerankingEvaluator,
    CESoftmaxAccuracyEvaluator,
)
from training.evaluation import SequentialEvaluator

PAIRS = [[f"query {i}", f"text {i}"] for i in range(4)]
LABELS = [0, 1, 1, 0]
SCORES = [0.2, 0.6, 0.4, 0.7]


def test_gap_1_the_name_may_be_given_by_position(tmp_path: Path) -> None:
    with pytest.raises(TypeError), pytest.warns(DeprecationWarning, match="deprecated"):
        reference.CEBinaryAccuracyEvaluator(PAIRS, LABELS, "nm")
    evaluator = CEBinaryAccuracyEvaluator(PAIRS, LABELS, "nm")
    assert evaluator(FakeModel(SCORES), str(tmp_path)) == 0.5
    assert evaluator.primary_metric == "nm_accuracy"
    for later in (CEBinaryClassificationEvaluator, CESoftmaxAccuracyEvaluator, CECorrelationEvaluator):
        assert later(PAIRS, LABELS, "nm").name == "nm"


def test_gap_2_the_threshold_decides() -> None:
    assert CEBinaryAccuracyEvaluator(PAIRS, LABELS, "", 0.3)(FakeModel(SCORES)) == 0.75
    assert CEBinaryAccuracyEvaluator(PAIRS, LABELS, threshold=0.65)(FakeModel(SCORES)) == 0.25
    exactly = CEBinaryAccuracyEvaluator(PAIRS[:1], [0], threshold=0.5)
    assert exactly(FakeModel([0.5])) == 1


def test_gap_3_the_softmax_evaluator_returns_the_accuracy() -> None:
    outputs = np.eye(3)[[0, 1, 2, 2]]
    assert CESoftmaxAccuracyEvaluator(PAIRS, [0, 1, 2, 0])(FakeModel(outputs, num_labels=3)) == 0.75
    with pytest.raises(ValueError, match="num_labels of 2 or more"):
        CESoftmaxAccuracyEvaluator(PAIRS, LABELS)(FakeModel(SCORES))


def test_gap_4_the_reranking_evaluator_returns_the_mean_reciprocal_rank() -> None:
    samples = {
        1: {"query": "q", "positive": {"b"}, "negative": {"a", "c"}},
        2: {"query": "q", "positive": ["a"], "negative": ["b"]},
        3: {"query": "q", "positive": [], "negative": ["b"]},
        4: {"query": "q", "positive": ["a"], "negative": []},
    }
    scores = {"a": 0.9, "b": 0.8, "c": 0.1}
    model = FakeModel(lambda _, text: scores[text])
    assert CERerankingEvaluator(samples)(model) == 0.75
    assert CERerankingEvaluator(samples, mrr_at_k=1)(model) == 0.5
    assert len(model.calls[0][0]) == 5


def test_binary_classification_returns_the_average_precision() -> None:
    found = CEBinaryClassificationEvaluator(PAIRS, LABELS)(FakeModel(SCORES))
    assert found == average_precision_score(LABELS, SCORES)


def test_correlation_returns_the_rank_correlation() -> None:
    assert CECorrelationEvaluator(PAIRS, [0.1, 0.5, 0.4, 0.9])(FakeModel(SCORES)) == pytest.approx(1)


@pytest.mark.parametrize("labels", [[0, 1, 1, 0], [0, 1, 2, 1]])
def test_f1_is_of_class_1_or_of_all_classes(labels: list[int]) -> None:
    guesses = [0, 1, 1, 1]
    wanted = f1_score(labels, guesses, average="binary" if max(labels) == 1 else "macro")
    assert CEF1Evaluator(PAIRS, labels)(FakeModel(np.eye(3)[guesses], num_labels=3)) == pytest.approx(wanted)


def test_f1_of_one_output_predicts_above_one_half() -> None:
    assert CEF1Evaluator(PAIRS, LABELS)(FakeModel(SCORES)) == f1_score(LABELS, [0, 1, 0, 1])
    assert CEF1Evaluator(PAIRS, [0, 0, 0, 0])(FakeModel([0, 0, 0, 0])) == 0


SAMPLES: list[dict[str, Any]] = [{"query": "q", "positive": ["a"], "negative": ["b", "c", "d"]}]
ALL = [
    (CEBinaryAccuracyEvaluator, (PAIRS, LABELS), SCORES, 1, "epoch,steps,Accuracy", "_results.csv"),
    (CESoftmaxAccuracyEvaluator, (PAIRS, LABELS), np.eye(2)[LABELS], 2, "epoch,steps,Accuracy", "_results.csv"),
    (CEF1Evaluator, (PAIRS, LABELS), SCORES, 1, "epoch,steps,Binary_F1", "_results.csv"),
    (CERerankingEvaluator, (SAMPLES,), SCORES, 1, "epoch,steps,MRR@10", "_results_@10.csv"),
    (
        *(CECorrelationEvaluator, (PAIRS, LABELS), SCORES, 1),
        *("epoch,steps,Pearson_Correlation,Spearman_Correlation", "_results.csv"),
    ),
    (
        *(CEBinaryClassificationEvaluator, (PAIRS, LABELS), SCORES, 1),
        "epoch,steps,Accuracy,Accuracy_Threshold,F1,F1_Threshold,Precision,Recall,Average_Precision",
        "_results.csv",
    ),
]


@pytest.mark.parametrize(("kind", "data", "scores", "num_labels", "headers", "ending"), ALL)
def test_each_returns_one_float_appends_to_its_csv_file_and_fills_the_card(
    kind: Any, data: tuple[Any, ...], scores: Any, num_labels: int, headers: str, ending: str, tmp_path: Path
) -> None:
    model = FakeModel(scores, num_labels)
    evaluator = kind(*data, name="dev", batch_size=3, prompt_name="task")
    found = evaluator(model, str(tmp_path), 1, 2)
    evaluator(model, str(tmp_path), 1, 4)
    assert type(found) is float
    lines = (tmp_path / f"{kind.__name__}_dev{ending}").read_text().splitlines()
    assert lines[0] == headers
    assert [line.split(",")[:2] for line in lines[1:]] == [["1", "2"], ["1", "4"]]
    _, metrics, epoch, steps = model.model_card_data.metrics[0]
    assert metrics[evaluator.primary_metric] == found
    assert (epoch, steps) == (1, 2)
    assert model.calls[0][1]["batch_size"] == 3
    assert model.calls[0][1]["prompt_name"] == "task"
    assert SequentialEvaluator([evaluator])(model) == {"evaluator_0": found, "sequential_score": found}


@pytest.mark.parametrize(
    ("kind", "data", "scores", "num_labels"), [row[:4] for row in ALL if row[0] is not CERerankingEvaluator]
)
def test_each_is_made_from_input_examples(
    kind: Any, data: tuple[Any, ...], scores: Any, num_labels: int, tmp_path: Path
) -> None:
    examples = [InputExample(texts=pair, label=label) for pair, label in zip(*data, strict=True)]
    evaluator = kind.from_input_examples(examples, name="dev")
    assert evaluator(FakeModel(scores, num_labels)) == kind(*data, name="dev")(FakeModel(scores, num_labels))


@pytest.mark.parametrize("kind", [row[0] for row in ALL if row[0] is not CERerankingEvaluator])
def test_lists_of_different_lengths_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="must have the same length"):
        kind(PAIRS, [1])


def test_binary_labels_and_samples_are_checked_before_training() -> None:
    for kind in (CEBinaryAccuracyEvaluator, CEBinaryClassificationEvaluator):
        with pytest.raises(ValueError, match="labels 0 and 1"):
            kind(PAIRS, [0, 1, 2, 1])
    with pytest.raises(ValueError, match="nothing to rank"):
        CERerankingEvaluator([{"query": "q", "positive": [], "negative": ["a"]}])


@pytest.mark.parametrize(
    "kind", [CEBinaryAccuracyEvaluator, CEBinaryClassificationEvaluator, CEF1Evaluator, CESoftmaxAccuracyEvaluator]
)
def test_labels_may_be_truth_values_and_no_names(kind: Any) -> None:
    """Regression: truth values were a TypeError of NumPy's in one, names of classes agreed with no prediction."""
    model = FakeModel(np.eye(2)[[0, 1, 0, 1]], 2) if kind is CESoftmaxAccuracyEvaluator else FakeModel(SCORES)
    truths = [bool(label) for label in LABELS]
    assert kind(PAIRS, truths)(model) == kind(PAIRS, LABELS)(model)
    with pytest.raises(ValueError, match="found 'no'; map the labels to 0, 1"):
        kind(PAIRS, ["no", "yes"] * 2)


def test_the_module_path_of_the_library_holds_them() -> None:
    from training.cross_encoder.evaluation import deprecated

    assert deprecated.CEBinaryAccuracyEvaluator is CEBinaryAccuracyEvaluator
    assert set(deprecated.__all__) == {row[0].__name__ for row in ALL}
