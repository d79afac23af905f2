"""The classification evaluator against sentence-transformers 6.2."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.cross_encoder.evaluation import CrossEncoderClassificationEvaluator as Reference
from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator

from tests.unit.training.cross_encoder.evaluation.fakes import FakeModel, assert_same
from training.cross_encoder.evaluation import CrossEncoderClassificationEvaluator
from training.cross_encoder.evaluation.class_metrics import best_accuracy, best_f1


def pairs(count: int) -> list[list[str]]:
    return [[f"query {i}", f"text {i}"] for i in range(count)]


rows = st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 1)), min_size=1, max_size=40)


@settings(max_examples=30)
@given(rows, st.sampled_from([np.float16, np.float32, np.float64]))
def test_best_thresholds_equal_the_loops_of_the_library(data: list[tuple[int, int]], dtype: type) -> None:
    scores = np.array([score for score, _ in data], dtype=dtype) / dtype(7)
    labels = np.array([label for _, label in data])
    wanted = BinaryClassificationEvaluator.find_best_acc_and_threshold(scores, labels, True)
    found = best_accuracy(scores, labels)
    assert tuple(map(str, found)) == tuple(map(str, wanted))
    wanted_f1 = BinaryClassificationEvaluator.find_best_f1_and_threshold(scores, labels, True)
    assert tuple(map(str, best_f1(scores, labels))) == tuple(map(str, wanted_f1))


def test_a_threshold_between_neighbouring_floats_does_not_include_the_next_score() -> None:
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2), dtype=np.float32)
    accuracy, threshold = best_accuracy(np.array([low, high]), np.array([0, 1]))
    assert accuracy == 1
    assert threshold == high


@settings(max_examples=30)
@given(rows.filter(lambda data: any(label for _, label in data)), st.sampled_from(["", "dev"]))
def test_one_output(data: list[tuple[int, int]], name: str) -> None:
    texts, labels = pairs(len(data)), [label for _, label in data]
    scores = [score / 7 for score, _ in data]
    ours = CrossEncoderClassificationEvaluator(texts, labels, name=name)
    with tempfile.TemporaryDirectory() as directory:
        assert_same(ours, Reference(texts, labels, name=name), scores, Path(directory))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=30))
def test_several_outputs(data: list[tuple[int, int]]) -> None:
    texts, labels = pairs(len(data)), [label for label, _ in data]
    scores = np.eye(3)[[guess for _, guess in data]]
    ours = CrossEncoderClassificationEvaluator(texts, labels, name="nli")
    with tempfile.TemporaryDirectory() as directory:
        assert_same(ours, Reference(texts, labels, name="nli"), scores, Path(directory), num_labels=3)


@pytest.mark.filterwarnings("ignore:No positive class found:UserWarning")
def test_labels_without_a_positive(tmp_path: Path) -> None:
    ours = CrossEncoderClassificationEvaluator(pairs(2), [0, 0])
    found = assert_same(ours, Reference(pairs(2), [0, 0]), [0.1, 0.2], tmp_path)
    assert found["f1"] == found["average_precision"] == 0


def test_the_model_is_called_once_with_the_options_of_the_evaluator() -> None:
    model = FakeModel([0.1, 0.9])
    evaluator = CrossEncoderClassificationEvaluator(
        pairs(2), [0, 1], prompt_name="task", batch_size=7, show_progress_bar=True, write_csv=False, unknown="ignored"
    )
    evaluator(model)
    options = {"prompt_name": "task", "batch_size": 7, "show_progress_bar": True, "convert_to_numpy": True}
    assert model.calls == [(pairs(2), options)]


def test_no_csv_file_is_written_unless_wanted(tmp_path: Path) -> None:
    CrossEncoderClassificationEvaluator(pairs(2), [0, 1], write_csv=False)(FakeModel([0.1, 0.9]), str(tmp_path))
    CrossEncoderClassificationEvaluator(pairs(2), [0, 1])(FakeModel([0.1, 0.9]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("texts", "labels"), [(pairs(2), [1]), ([], [])])
def test_wrong_lists_are_refused_before_training(texts: list[list[str]], labels: list[int]) -> None:
    with pytest.raises(ValueError, match="sentence_pairs"):
        CrossEncoderClassificationEvaluator(texts, labels)


def test_labels_that_one_output_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels 0 and 1; found .*2.*; map the labels"):
        CrossEncoderClassificationEvaluator(pairs(2), [1, 2])(FakeModel([0.1, 0.9]))


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN or infinite"):
        CrossEncoderClassificationEvaluator(pairs(2), [0, 1])(FakeModel([0.1, float("nan")]))


@pytest.mark.parametrize("labels", [[True, False, True], np.array([True, True, False]), [1.0, 0.0, 1.0]])
@pytest.mark.parametrize("num_labels", [1, 2])
def test_truth_values_are_the_classes_0_and_1(labels: Any, num_labels: int, tmp_path: Path) -> None:
    """Regression: truth values were a TypeError of NumPy's for a model with one output."""
    scores = [0.1, 0.9, 0.4] if num_labels == 1 else np.eye(2)[[0, 1, 1]]
    found = assert_same(
        CrossEncoderClassificationEvaluator(pairs(3), labels), Reference(pairs(3), labels), scores, tmp_path, num_labels
    )
    assert 0 < found["f1" if num_labels == 1 else "f1_macro"] < 1


@pytest.mark.parametrize(
    ("labels", "odd"), [(["no", "yes"], "'no'"), ([1, None], "None"), ([0, 0.5], r"0\.5"), ([0, float("nan")], "nan")]
)
def test_labels_that_are_no_class_ids_are_refused_before_training(labels: list[Any], odd: str) -> None:
    """Regression: names of classes agreed with no prediction, and the F1 score was 0."""
    with pytest.raises(ValueError, match=rf"integers; found {odd}; map the labels to 0, 1, \.\.\."):
        CrossEncoderClassificationEvaluator(pairs(2), labels)


def test_outputs_that_are_not_numbers_are_refused() -> None:
    """Regression: NaN was taken for the largest output."""
    with pytest.raises(ValueError, match="2 of 6 scores are NaN or infinite; has the training diverged"):
        CrossEncoderClassificationEvaluator(pairs(2), [0, 1])(FakeModel([[0, 1, np.nan], [np.inf, 0, 1]], 3))
