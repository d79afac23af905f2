"""Loading and predicting: order, limits, empty input, and refusals at start."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ArtifactError, ConfigError
from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder
from app.model.types import Batch, FloatArray
from tests.models import write_json

WORDS = st.text("abc xyz", max_size=60)
BUDGETS = st.builds(Budget, st.integers(1, 600), st.integers(1, 20), st.sampled_from([0.0, 0.5, 1.0]))


@dataclass
class SumBackend:
    """A backend whose logit is the sum of a row's token ids: exact, so order can be checked with equality."""

    labels: int = 1
    device: str = "cpu"
    source: str = "sum"
    widths: list[tuple[int, int]] = field(default_factory=list)

    def forward(self, batch: Batch) -> FloatArray:
        self.widths.append(batch["input_ids"].shape)
        sums = (batch["input_ids"] * batch["attention_mask"]).sum(axis=1, dtype=np.float32)
        return np.stack([sums + label for label in range(self.labels)], axis=1)


@pytest.fixture(scope="module")
def model(reranker_dir: Path) -> CrossEncoder:
    """The tiny reranker under a backend that can be checked by hand."""
    return replace(CrossEncoder.load(reranker_dir), backend=SumBackend())


@given(documents=st.lists(WORDS, max_size=30), budget=BUDGETS)
def test_logits_are_in_input_order(model: CrossEncoder, documents: list[str], budget: Budget) -> None:
    """Whatever order the batches had."""
    rows = model.tokenizer.encode("query", documents, model.options)
    assert model.logits(rows, budget)[:, 0].tolist() == [float(row.ids.sum()) for row in rows]


@given(documents=st.lists(WORDS, min_size=1, max_size=30), budget=BUDGETS)
def test_no_forward_exceeds_the_budget(model: CrossEncoder, documents: list[str], budget: Budget) -> None:
    """Padded size, except for single rows over the limit."""
    backend = SumBackend()
    rows = model.tokenizer.encode("query", documents, model.options)
    replace(model, backend=backend).logits(rows, budget)
    assert sum(count for count, _ in backend.widths) == len(rows)
    assert all(count * width <= budget.max_tokens or count == 1 for count, width in backend.widths)


def test_scores_go_through_the_model_s_activation(reranker_dir: Path) -> None:
    """One label: sigmoid, one score per pair; another activation of the table on request."""
    model = CrossEncoder.load(reranker_dir)
    pairs = [("cat", "dog"), ("what is the capital", "paris")]
    logits = model.logits(model.tokenizer.encode_pairs(pairs, model.options))
    scores = model.predict(pairs)
    assert scores.shape == (2,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits[:, 0])), rtol=1e-6)
    assert np.array_equal(model.activate(logits, "identity"), logits)


def test_equal_pairs_get_equal_scores(reranker_dir: Path) -> None:
    """Ties are ties, so that ranking can break them by index."""
    model = CrossEncoder.load(reranker_dir)
    scores = model.predict([("cat", "dog"), ("cat", "a much longer text about a river"), ("cat", "dog")])
    assert scores[0] == scores[2] != scores[1]


@pytest.mark.parametrize(("fixture", "shape"), [("reranker_dir", (0,)), ("classifier_dir", (0, 3))])
def test_no_pairs_give_no_scores(request: pytest.FixtureRequest, fixture: str, shape: tuple[int, ...]) -> None:
    """Empty arrays of the shape that scores would have."""
    model = CrossEncoder.load(request.getfixturevalue(fixture))
    scores, logits = model.predict([]), model.logits([])
    assert scores.shape == shape
    assert logits.shape == (0, model.num_labels)
    assert scores.dtype == logits.dtype == np.float32


def test_several_labels_give_rows_of_scores(classifier_dir: Path) -> None:
    """In logit order."""
    model = CrossEncoder.load(classifier_dir)
    assert model.predict([("a cat", "a dog"), ("rome", "italy")]).shape == (2, 3)


@pytest.mark.parametrize(("wanted", "expected"), [(None, 512), (64, 64), (100_000, 512)])
def test_max_length_can_only_be_lowered(reranker_dir: Path, wanted: int | None, expected: int) -> None:
    """The model has no positions beyond its own limit."""
    model = CrossEncoder.load(reranker_dir, max_length=wanted)
    (row,) = model.tokenizer.encode_pairs([("a " * 600, "b " * 600)], model.options)
    assert model.max_length == len(row) == expected


@pytest.mark.parametrize("wanted", [-1, 0, 3])
def test_a_max_length_without_room_for_text_is_refused(reranker_dir: Path, wanted: int) -> None:
    """Three special tokens are no pair."""
    with pytest.raises(ConfigError, match=f"max_length {wanted} leaves no room for text beside 3 special tokens"):
        CrossEncoder.load(reranker_dir, max_length=wanted)


def test_the_smallest_max_length_loads_with_either_truncation(reranker_dir: Path) -> None:
    """The probe at start needs no room for a document."""
    assert CrossEncoder.load(reranker_dir, max_length=4, truncation="only_second").max_length == 4


@pytest.mark.parametrize(("chosen", "expected"), [(None, "left"), ("right", "right")])
def test_the_truncation_side_is_the_tokenizer_s_unless_chosen(
    reranker_dir: Path, tmp_path: Path, chosen: str | None, expected: str
) -> None:
    """As sentence-transformers would cut."""
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    write_json(model / "tokenizer_config.json", {**settings, "truncation_side": "left"})
    assert CrossEncoder.load(model, side=chosen).options.side == expected


def test_options_for_a_request_keep_the_model_s_limits(reranker_dir: Path) -> None:
    """Only the limit on documents is the request's own."""
    model = CrossEncoder.load(reranker_dir, max_length=64, truncation="only_second", side="left")
    assert model.encode_options(10) == replace(model.options, max_document_tokens=10)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path is never looked up at the Hub."""
    with pytest.raises(ArtifactError, match=r"missing: no such model directory; check the path"):
        CrossEncoder.load(tmp_path / "missing")
