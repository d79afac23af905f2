"""The correlation evaluator against sentence-transformers 6.2."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator as Reference

from tests.unit.training.cross_encoder.evaluation.fakes import FakeModel, assert_same
from training import InputExample
from training.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator

number = st.integers(-20, 20).map(lambda n: n / 8)


@settings(max_examples=30)
@given(st.lists(st.tuples(number, number), min_size=2, max_size=30), st.sampled_from(["", "sts_dev"]))
@pytest.mark.filterwarnings("ignore:An input array is constant")
@pytest.mark.filterwarnings("ignore:An input array is nearly constant")
def test_random_scores(data: list[tuple[float, float]], name: str) -> None:
    pairs, gold = [["a", "b"]] * len(data), [score for score, _ in data]
    ours = CrossEncoderCorrelationEvaluator(pairs, gold, name)
    with tempfile.TemporaryDirectory() as directory:
        assert_same(ours, Reference(pairs, gold, name), [score for _, score in data], Path(directory))


def test_constant_predictions_have_no_correlation_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    found = CrossEncoderCorrelationEvaluator([["a", "b"]] * 3, [1, 2, 3])(FakeModel([0.5, 0.5, 0.5]))
    assert math.isnan(found["spearman"])
    assert "there is no correlation" in caplog.text


def test_from_input_examples() -> None:
    examples = [InputExample(texts=[f"a{i}", f"b{i}"], label=i / 3) for i in range(4)]
    evaluator = CrossEncoderCorrelationEvaluator.from_input_examples(examples, name="sts")
    model = FakeModel([0.1, 0.2, 0.3, 0.4])
    assert evaluator(model) == pytest.approx({"sts_pearson": 1, "sts_spearman": 1})
    assert model.calls[0][0] == [[f"a{i}", f"b{i}"] for i in range(4)]


@pytest.mark.parametrize("gold", [[], [1.0], [1.0, 2.0, 3.0]])
def test_wrong_lists_are_refused_before_training(gold: list[float]) -> None:
    pairs = [["a", "b"]] * min(len(gold), 2)
    with pytest.raises(ValueError, match="sentence_pairs"):
        CrossEncoderCorrelationEvaluator(pairs, gold)
