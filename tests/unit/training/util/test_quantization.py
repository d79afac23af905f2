"""Quantised embeddings against the established library's."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.util import quantize_embeddings as established

from training.util import quantize_embeddings

PRECISIONS: list[Any] = ["float32", "int8", "uint8", "binary", "ubinary"]
ROWS = np.random.default_rng(0).standard_normal((200, 37)).astype(np.float32)


def assert_same(own: Any, other: Any) -> None:
    assert type(own) is type(other)
    for mine, theirs in zip(own, other, strict=True):
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), shape=st.tuples(st.integers(100, 130), st.integers(1, 20)))
def test_equal_to_the_established_function(precision: Any, seed: int, shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    rows[:, 0] = 1.0  # a dimension without a range
    ranges = np.stack([rows.min(0) / 2, rows.max(0) / 2])
    for values in (rows, torch.from_numpy(rows), list(rows), list(torch.from_numpy(rows)), [rows, rows[:50]]):
        assert_same(quantize_embeddings(values, precision), established(values, precision))
    for options in ({"ranges": ranges}, {"calibration_embeddings": rows[:110] * 0.7}):
        assert_same(quantize_embeddings(rows[:3], precision, **options), established(rows[:3], precision, **options))
        assert_same(
            quantize_embeddings([rows[:3], rows[:1]], precision, **options),
            established([rows[:3], rows[:1]], precision, **options),
        )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_empty_inputs(precision: Any) -> None:
    assert quantize_embeddings([], precision) == []
    assert_same(quantize_embeddings(ROWS[:0], precision), established(ROWS[:0], precision))
    assert quantize_embeddings(ROWS[:0], precision).shape == established(ROWS[:0], precision).shape  # type: ignore[union-attr]


def test_bfloat16_is_quantised() -> None:
    rows = torch.from_numpy(ROWS).bfloat16()
    assert_same(quantize_embeddings(rows, "int8"), established(rows.float(), "int8"))


def test_what_cannot_be_quantised_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="int8 already"):
        quantize_embeddings(ROWS.astype(np.int8), "int8")
    with pytest.raises(ValueError, match="Precision 'int4' is not supported, must be one of"):
        quantize_embeddings(ROWS, "int4")
    with pytest.raises(ValueError, match="uint8 needs the range of each dimension"):
        quantize_embeddings(ROWS[:1], "uint8")
    with caplog.at_level(logging.WARNING):
        quantize_embeddings(ROWS[:99], "int8")
        assert "ranges from 99 embeddings only" in caplog.text
        caplog.clear()
        quantize_embeddings(ROWS[:99], "int8", calibration_embeddings=ROWS)
        assert not caplog.text
