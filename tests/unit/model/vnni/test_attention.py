"""Attention by products of int16 beside attention in 64 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from app.model.vnni.attention import ROOM, attend_floats, attend_integers
from app.model.vnni.tile_size import ROWS
from app.model.vnni.weights import padded


@njit
def integers(qkv: Any, ends: Any, factor: Any, scratch: Any, logits: Any, context: Any) -> None:
    attend_integers(qkv, ends, factor, scratch, logits, context)


@njit
def floats(qkv: Any, ends: Any, factor: Any, scratch: Any, logits: Any, context: Any) -> None:
    attend_floats(qkv, ends, factor, scratch, logits, context)


def attended(qkv: np.ndarray, lengths: list[int], size: int, *, rounded: bool = True) -> np.ndarray:
    """Context of the tokens, as the columns of a wider array; what lies behind them is no number."""
    tokens, most = sum(lengths), padded(max(lengths))
    behind = np.full((ROWS, 3 * size), np.nan, np.float32)
    context = np.zeros((tokens + ROWS, 3 * size), np.float32)
    scratch = np.full((4 * size + ROWS) * most + 8 * ROWS * size, -7, np.int16)
    keys, logits = np.full(size * most, np.nan, np.float32), np.full(ROWS * most, np.nan, np.float32)
    parts = (np.concatenate([qkv, behind]), np.cumsum(lengths), np.float32(size**-0.5))
    own = context[:, size : 2 * size]
    integers(*parts, scratch, logits, own) if rounded else floats(*parts, keys, logits, own)
    assert not context[:, :size].any()
    assert not context[:, 2 * size :].any()
    return own[:tokens]


def exact(qkv: np.ndarray, lengths: list[int]) -> np.ndarray:
    parts, begin = [], 0
    for length in lengths:
        q, k, v = np.split(qkv[begin : begin + length].astype(float), 3, axis=1)
        logits = q @ k.T * q.shape[1] ** -0.5
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        parts.append(weights / weights.sum(axis=1, keepdims=True) @ v)
        begin += length
    return np.concatenate(parts)


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("lengths", [[1, 5, 6, 7, 31], [32, 33], [97, 2], [300]])
def test_rows_attend_to_themselves(size: int, lengths: list[int]) -> None:
    qkv = np.random.default_rng(0).standard_normal((sum(lengths), 3 * size)).astype(np.float32)
    expected = exact(qkv, lengths)
    np.testing.assert_allclose(attended(qkv, lengths, size), expected, atol=1e-3)
    assert np.abs(attended(qkv, lengths, size) - expected).std() < 1e-4
    np.testing.assert_allclose(attended(qkv, lengths, size, rounded=False), expected, atol=3e-6)


@pytest.mark.parametrize("outliers", [1.0, 1e4])
def test_no_sum_leaves_int32(outliers: float) -> None:
    """The worst that can happen is that what is multiplied lies alike: all the same, or all of it in one column.

    Rounding then goes one way too: half a step in each factor.
    """
    qkv = np.full((600, 96), 3, np.float32)
    qkv[:, ::32] *= outliers
    qkv[:, :64] /= outliers
    np.testing.assert_allclose(attended(qkv, [600], 32), exact(qkv, [600]), rtol=1.1 * 600**0.5 / ROOM)


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("column", [3, 40, 70])
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFC000FF, 0x7F800000, 0xFF800000])
def test_what_is_no_number_stays_none(column: int, bits: int, rounded: bool) -> None:
    """Integers would hide it; so would sums with the bits of a NaN. Those of both infinities too."""
    qkv = np.random.default_rng(0).standard_normal((40, 96)).astype(np.float32)
    qkv.view(np.uint32)[7, column] = bits
    found = attended(qkv, [40], 32, rounded=rounded)
    assert not np.isfinite(found).all()
    assert column < 64 or np.isfinite(np.delete(found, column - 64, axis=1)).all()


@pytest.mark.parametrize("rounded", [True, False])
def test_large_logits(rounded: bool) -> None:
    """A weight over 1 would leave int16."""
    qkv = np.full((24, 96), 3, np.float32)
    qkv[:, :64] = np.random.default_rng(0).uniform(7, 8.3, (24, 64)) * np.float32(1.02)
    qkv[5, :32] *= 1.1
    expected = exact(qkv, [24])
    np.testing.assert_allclose(attended(qkv, [24], 32, rounded=rounded), expected, rtol=1e-3)


def test_zeros() -> None:
    assert not attended(np.zeros((9, 96), np.float32), [9], 32).any()
