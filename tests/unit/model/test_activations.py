"""Activations against float64, up to the ends of their range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.activations import ACTIVATIONS, DOTTED_PATHS, identity, sigmoid, softmax

LOGITS = st.floats(-1e4, 1e4, width=32)
ROWS = st.lists(st.lists(LOGITS, min_size=3, max_size=3), min_size=1, max_size=5)


@given(ROWS)
def test_sigmoid_equals_float64_without_warnings(rows: list[list[float]]) -> None:
    """Float32 in, float32 out, shape kept; overflow would be a warning and so an error."""
    logits = np.array(rows, dtype=np.float32)
    scores = sigmoid(logits)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-38)
    assert scores.dtype == np.float32


@given(ROWS)
def test_softmax_equals_float64_and_sums_to_one(rows: list[list[float]]) -> None:
    """Over the last axis, with the maximum subtracted."""
    logits = np.array(rows, dtype=np.float32)
    scores = softmax(logits)
    exact = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(scores, exact / exact.sum(axis=-1, keepdims=True), rtol=1e-5, atol=1e-38)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-6)
    assert scores.dtype == np.float32


@given(st.lists(LOGITS, min_size=2, max_size=20))
def test_sigmoid_never_reverses_an_order(values: list[float]) -> None:
    """Saturation may tie scores; it never swaps them."""
    logits = np.sort(np.array(values, dtype=np.float32))
    assert (np.diff(sigmoid(logits)) >= 0).all()


@pytest.mark.parametrize("extreme", [1e4, -1e4, 88.8, -88.8, 104.0, -104.0, 0.0])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extremes_stay_finite(name: str, extreme: float) -> None:
    """The ends of float32's exponential give 0 or 1, never NaN."""
    scores = ACTIVATIONS[name](np.array([[extreme, 0.0, -extreme]], dtype=np.float32))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(0, 1), (0, 3), (2, 1), (4, 3)])
def test_shape_and_type_are_kept(name: str, shape: tuple[int, int]) -> None:
    """Also without rows."""
    scores = ACTIVATIONS[name](np.zeros(shape, dtype=np.float32))
    assert scores.shape == shape
    assert scores.dtype == np.float32


def test_identity_changes_nothing() -> None:
    """Raw logits pass through."""
    logits = np.array([[-3.5, 1e4]], dtype=np.float32)
    assert identity(logits).tolist() == logits.tolist()


def test_every_legacy_path_leads_into_the_table() -> None:
    """What sentence-transformers writes is known by name; nothing is imported."""
    assert set(DOTTED_PATHS.values()) <= set(ACTIVATIONS)
