"""Rows in several blocks, and the content that caches go by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from training.mining import formats
from training.mining.filters import Skipped
from training.mining.fingerprint import model_digest, texts_digest
from training.mining.formats import FORMATS, Names, table_of
from training.mining.options import MiningOptions
from training.mining.pipeline import Mined
from training.mining.positives import problem_from_pairs
from training.mining.statistics import measure, report
from training.retrieval.hits import no_hits

PROBLEM = problem_from_pairs(
    pa.array(["a", "a", "b", "c"]), pa.array(["p0", "p1", "p2", "p3"]), pa.array(["n0", "n1" * 9])
)
MINED = Mined(
    np.array([[0, 1], [1, -1], [-1, -1]]),
    np.array([[0.5, 0.25], [0.125, -np.inf], [-np.inf, -np.inf]], dtype=np.float32),
    np.array([0.75, 0.5, 0.625, 1.0], dtype=np.float32),
    [Skipped("max_score", 0.5, 2, 8), Skipped("min_score", 0.0, 0, 6)],
    8,
    no_hits(3, 1),
    MiningOptions(num_negatives=2, range_max=5),
)
FIRST, SECOND = "n0", "n1" * 9
ROWS: dict[str, list[Any]] = {
    "triplet": [("a", "p0", FIRST), ("a", "p0", SECOND), ("a", "p1", FIRST), ("a", "p1", SECOND), ("b", "p2", SECOND)],
    "n-tuple": [("a", "p0", FIRST, SECOND), ("a", "p1", FIRST, SECOND)],
    "labeled-pair": [
        ("a", "p0", 1),
        ("a", "p1", 1),
        ("a", FIRST, 0),
        ("a", SECOND, 0),
        ("b", "p2", 1),
        ("b", SECOND, 0),
        ("c", "p3", 1),
    ],
    "labeled-list": [
        ("a", ["p0", FIRST, SECOND], [1, 0, 0]),
        ("a", ["p1", FIRST, SECOND], [1, 0, 0]),
        ("b", ["p2", SECOND], [1, 0]),
    ],
}


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 29])
@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_the_same_however_many_fit_into_a_block(
    name: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "BLOCK_BYTES", block_bytes)
    table = table_of(PROBLEM, MINED, name, Names("query", "answer"))
    assert [tuple(row.values()) for row in table.to_pylist()] == ROWS[name]
    if block_bytes == 1:
        assert table.column(0).num_chunks == len(ROWS[name])


@pytest.mark.parametrize("name", FORMATS)
def test_formats_without_a_row_keep_their_types(name: str) -> None:
    nothing = Mined(
        np.full((3, 2), -1), no_hits(3, 2).scores, MINED.positive_scores, [], 0, no_hits(3, 1), MINED.options
    )
    empty = table_of(PROBLEM, nothing, name, Names("query", "answer"))
    assert empty.schema == table_of(PROBLEM, MINED, name, Names("query", "answer")).schema


@pytest.mark.parametrize(
    ("name", "missing", "possible"),
    [("triplet", 3, 8), ("n-tuple", 2, 4), ("labeled-pair", 3, 10), ("labeled-list", 1, 4)],
)
def test_statistics_count_what_is_missing(name: str, missing: int, possible: int) -> None:
    found = measure(PROBLEM, MINED, name)
    assert (found.missing, found.possible) == (missing, possible)
    assert found.negatives == (4 if name == "n-tuple" else 5)
    assert found.values["Min"] == pytest.approx((0.5, 0.25 if name == "n-tuple" else 0.125, 0.0))
    text = report(found, MINED)
    assert "Skipped 2 potential negatives (25.00%) due to the max_score of 0.5." in text
    assert "min_score of" not in text
    assert f"Could not find enough negatives for {missing} samples ({missing / possible:.2%})" in text
    assert "the range_max, max_score and min_score parameters" in text


def test_quantiles_of_more_scores_than_torch_sorts() -> None:
    """torch.quantile refuses more than 2^24 values."""
    many = np.linspace(0, 1, (1 << 24) + 1, dtype=np.float32)[None]
    problem = problem_from_pairs(pa.array(["a"]), pa.array(["p"]))
    mined = Mined(np.zeros(many.shape, np.int64), many, MINED.positive_scores[:1], [], 0, no_hits(1, 1), MINED.options)
    assert measure(problem, mined, "triplet").values["25%"][1] == pytest.approx(0.25)


def test_texts_have_one_digest_however_they_are_cut() -> None:
    whole = texts_digest(pa.array(["ab", "c", ""]))
    assert texts_digest(pa.chunked_array([["ab"], ["c", ""]])) == whole
    assert texts_digest(pa.array(["x", "ab", "c", ""]).slice(1)) == whole
    assert texts_digest(pa.array(["a", "bc", ""])) != whole
    assert texts_digest(pa.array(["ab", "c"])) != whole


def test_models_have_one_digest_per_content() -> None:
    def linear(seed: int) -> Any:
        torch.manual_seed(seed)
        return torch.nn.Linear(2, 2)

    assert model_digest(linear(0)) == model_digest(linear(0)) != model_digest(linear(1))
    prompted = linear(0)
    prompted.prompts = {"query": "q: "}
    assert model_digest(prompted) != model_digest(linear(0))
    named = linear(0)
    named.fingerprint = lambda: "one"
    other = linear(1)
    other.fingerprint = lambda: "one"
    assert model_digest(named) == model_digest(other)
