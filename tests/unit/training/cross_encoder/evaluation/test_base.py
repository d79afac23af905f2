"""The base class, several evaluators as one, and the triplet evaluator."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers.sentence_transformer import evaluation as reference

from tests.unit.training.cross_encoder.evaluation.fakes import Card, FakeModel, files_of
from training import InputExample
from training.cross_encoder.evaluation import CEF1Evaluator, CrossEncoderClassificationEvaluator
from training.evaluation import SentenceEvaluator, SequentialEvaluator, SimilarityFunction, TripletEvaluator
from training.evaluation.results import moment, wants_progress


class Fixed(SentenceEvaluator):
    """A user's evaluator."""

    def __init__(self, result: Any, primary: str | None = None) -> None:
        super().__init__()
        self.result = result
        self.primary_metric = primary

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> Any:
        return self.result


def test_sequential_joins_metrics_and_takes_the_last_primary_score() -> None:
    evaluators = [Fixed({"a": 1.0, "b": 2.0}, "b"), Fixed(0.25), Fixed({"c": 4.0, "d": 5.0})]
    joined = SequentialEvaluator(iter(evaluators))
    found = joined(FakeModel([]))
    assert found == {"a": 1, "b": 2, "evaluator_1": 0.25, "c": 4, "d": 5, "sequential_score": 4}
    assert joined.primary_metric == "sequential_score"
    assert found == reference.SequentialEvaluator(evaluators)(FakeModel([]))
    assert SequentialEvaluator(evaluators, sum)(FakeModel([]))["sequential_score"] == 6.25
    assert SequentialEvaluator([])(FakeModel([])) == {"sequential_score": 0}


def test_the_name_is_put_before_keys_and_once_before_the_primary_metric() -> None:
    evaluator = Fixed({}, "acc")
    for _ in range(2):
        found = evaluator.prefix_name_to_metrics({"acc": np.float32(0.5), "note": "0.5 (+0.1)"}, "dev")
    assert found == {"dev_acc": 0.5, "dev_note": "0.5 (+0.1)"}
    assert evaluator.primary_metric == "dev_acc"
    assert evaluator.prefix_name_to_metrics({"acc": 1}, "") == {"acc": 1.0}


def test_what_an_evaluator_says_of_itself() -> None:
    evaluator = CrossEncoderClassificationEvaluator([["a", "b"]], [1])
    assert (evaluator.description, evaluator.greater_is_better) == ("Cross Encoder Classification", True)
    assert CEF1Evaluator([["a", "b"]], [1]).description == "Cross Encoder F1"
    assert evaluator.get_config_dict() == {}
    with pytest.raises(NotImplementedError):
        SentenceEvaluator()(None)


def test_a_model_without_a_card_is_evaluated_too() -> None:
    model = FakeModel([0.1])
    del model.model_card_data
    assert CrossEncoderClassificationEvaluator([["a", "b"]], [1])(model)["f1"] == 1


def test_progress_follows_the_level_of_the_log_unless_it_is_said() -> None:
    logger = logging.getLogger("progress")
    for level, shown in ((logging.INFO, True), (logging.DEBUG, True), (logging.WARNING, False)):
        logger.setLevel(level)
        assert wants_progress(None, logger) is shown
    assert wants_progress(True, logger) is True


def test_the_moment_of_an_evaluation_in_words() -> None:
    assert [moment(-1, -1), moment(2, -1), moment(2, 5)] == ["", " after epoch 2", " in epoch 2 after 5 steps"]


def test_the_log_tells_the_moment_and_the_metrics(caplog: pytest.LogCaptureFixture) -> None:
    evaluator = CrossEncoderClassificationEvaluator([["a", "b"], ["a", "c"]], [1, 0], name="dev")
    with caplog.at_level(logging.INFO):
        evaluator(FakeModel([0.75, 0.25]), epoch=1, steps=20)
    assert "dev dataset in epoch 1 after 20 steps" in caplog.text
    assert "Accuracy:          100.00\t(Threshold: 0.5000)" in caplog.text
    assert "Average Precision: 100.00" in caplog.text


class Embedder:
    """Embeds a text as the numbers in it."""

    similarity_fn_name = "cosine"

    def __init__(self) -> None:
        self.model_card_data = Card()
        self.options: list[dict[str, Any]] = []

    def encode(self, texts: list[str], **options: Any) -> np.ndarray:
        self.options.append(options)
        return np.array([[float(part) for part in text.split()] for text in texts], dtype=np.float32)

    def encode_query(self, texts: list[str], **options: Any) -> np.ndarray:
        return self.encode(texts, **options)

    encode_document = encode_query


ANCHORS, POSITIVES, NEGATIVES = ["1 0", "0 1", "1 1"], ["2 0.1", "1 0", "3 3"], ["1 1", "0 0.5", "1 0.9"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "nli", "margin": 0.2, "truncate_dim": 1},
        {"similarity_fn_names": ["cosine", "dot", "manhattan", "euclidean"], "margin": {"dot": 1.0}},
        {"main_similarity_function": "euclidean"},
        {"similarity_fn_names": ["dot", "cosine"], "main_similarity_function": SimilarityFunction.DOT},
    ],
)
def test_triplets_equal_the_library(options: dict[str, Any], tmp_path: Path) -> None:
    theirs_options = dict(options)
    if isinstance(main := options.get("main_similarity_function"), SimilarityFunction):
        theirs_options["main_similarity_function"] = main.value
    ours = TripletEvaluator(ANCHORS, POSITIVES, NEGATIVES, **options)
    theirs = reference.TripletEvaluator(ANCHORS, POSITIVES, NEGATIVES, **theirs_options)
    own, other = Embedder(), Embedder()
    for epoch in (-1, 1):
        assert ours(own, str(tmp_path / "ours"), epoch) == theirs(other, str(tmp_path / "theirs"), epoch)
    assert ours.primary_metric == theirs.primary_metric
    assert ours.get_config_dict() == theirs.get_config_dict()
    assert own.options == other.options
    assert files_of(tmp_path / "ours") == files_of(tmp_path / "theirs")


def test_triplets_of_input_examples_and_of_a_model_with_encode_alone() -> None:
    class Plain:
        similarity_fn_name = "dot"
        encode = Embedder.encode

        def __init__(self) -> None:
            self.options: list[dict[str, Any]] = []

    examples = [InputExample(texts=list(texts)) for texts in zip(ANCHORS, POSITIVES, NEGATIVES, strict=True)]
    evaluator = TripletEvaluator.from_input_examples(examples, name="dev")
    assert evaluator(Plain()) == pytest.approx({"dev_dot_accuracy": 2 / 3})


def test_wrong_triplets_are_refused() -> None:
    with pytest.raises(ValueError, match="a triplet needs one of each"):
        TripletEvaluator(ANCHORS, POSITIVES, NEGATIVES[:1])
    with pytest.raises(ValueError, match="`similarity_fn_names` names"):
        TripletEvaluator(ANCHORS, POSITIVES, NEGATIVES, similarity_fn_names=["jaccard"])
    with pytest.raises(ValueError, match="`margin` names"):
        TripletEvaluator(ANCHORS, POSITIVES, NEGATIVES, margin={"jaccard": 1.0})
    with pytest.raises(ValueError, match="`margin` is a number"):
        TripletEvaluator(ANCHORS, POSITIVES, NEGATIVES, margin="0.1")  # type: ignore[arg-type]


def test_old_paths() -> None:
    from training.base.evaluation import BaseEvaluator
    from training.cross_encoder.evaluation.CEF1Evaluator import (
        CEF1Evaluator as Moved,
    )
    from training.evaluation.SequentialEvaluator import (
        SequentialEvaluator as Other,
    )

    assert Moved is CEF1Evaluator
    assert Other is SequentialEvaluator
    assert BaseEvaluator is SentenceEvaluator
