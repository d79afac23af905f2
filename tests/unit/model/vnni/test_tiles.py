"""Products and passes over rows in registers, against NumPy in 64 bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numba import njit

from app.model.vnni import gelu, tiles
from app.model.vnni.gelu import RAISE, gelu_slopes, gelu_tile
from app.model.vnni.rows import extent, softmax_tile, to_numbers
from app.model.vnni.tile_size import COLUMNS, ROWS
from app.model.vnni.tiles import dot_tile, float_tile

INT16, INT8 = (np.int16, np.int16, 2), (np.uint8, np.int8, 4)


def product(a: Any, b: Any, starts: Any, a_scales: Any, b_scales: Any, bias: Any) -> Any:
    """`dot_tile`, compiled anew each time."""

    @njit
    def run(a: Any, b: Any, starts: Any, a_scales: Any, b_scales: Any, bias: Any, c: Any) -> None:
        dot_tile(
            a[0, 0], a.ctypes.data, a.strides[0], b.ctypes.data, b.shape[1], b.shape[0], starts.ctypes.data,
            a_scales.ctypes.data, a_scales.strides[0], b_scales.ctypes.data, bias.ctypes.data,
            c.ctypes.data, c.strides[0], c.ctypes.data, c.strides[0],
        )  # fmt: skip

    c = np.ones((ROWS, COLUMNS + 8), np.float32)[:, :COLUMNS]  # what is there is added to
    run(a, b, starts, a_scales, b_scales, bias, c)
    return c - 1


@pytest.mark.parametrize("kinds", [INT16, INT8], ids=["int16", "int8"])
@pytest.mark.parametrize("vnni", [True, False], ids=["the processor's own", "portable"])
def test_products_of_integers_are_exact(kinds: Any, vnni: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the ends of their types, where narrower instructions would saturate."""
    if not vnni:
        monkeypatch.setattr(tiles, "has_vnni", lambda: False)
    left, right, each = kinds
    rng = np.random.default_rng(0)
    blocks, steps = 3, 8
    width = blocks * steps * each
    low, high = (-2000, 2000) if left is np.int16 else (0, 255)
    a = rng.integers(low, high, (ROWS, width), endpoint=True).astype(left)
    a[0], a[1] = low, high
    plain = rng.integers(-127, 127, (width, COLUMNS), endpoint=True).astype(right)
    plain[:, 0], plain[:, 1] = -127, 127
    b = np.ascontiguousarray(plain.reshape(blocks, steps, each, COLUMNS).transpose(0, 1, 3, 2))
    starts = rng.integers(-1000, 1000, (blocks, COLUMNS)).astype(np.int32)
    a_scales, b_scales = (rng.uniform(0.5, 2, (count, blocks)).astype(np.float32) for count in (ROWS, COLUMNS))
    bias = rng.normal(size=COLUMNS).astype(np.float32)
    found = product(a, b, starts, a_scales, np.ascontiguousarray(b_scales.T), bias)
    sums = np.einsum(
        "rbk,bkc->rbc", a.reshape(ROWS, blocks, -1).astype(int), plain.reshape(blocks, -1, COLUMNS).astype(int)
    )
    expected = np.einsum("rbc,rb,cb->rc", sums + starts, a_scales.astype(float), b_scales.astype(float)) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_products_of_floats_with_laid_out_weights() -> None:
    """Neither starts nor scales are looked at: there is nothing to scale."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(ROWS, 24)).astype(np.float32), rng.normal(size=(3, 8, COLUMNS)).astype(np.float32)
    bias, nothing = rng.normal(size=COLUMNS).astype(np.float32), np.full((ROWS, COLUMNS), np.nan, np.float32)
    found = product(a, b, nothing, nothing, nothing, bias)
    np.testing.assert_allclose(found, a.astype(float) @ b.reshape(24, -1) + bias, atol=1e-5)


@njit
def multiply(a: Any, b: Any, start: Any, c: Any) -> None:
    float_tile(
        a.ctypes.data, *a.strides, b.ctypes.data, b.strides[0], a.shape[1], start.ctypes.data, start.strides[0],
        c.ctypes.data, c.strides[0],
    )  # fmt: skip


@pytest.mark.parametrize("steps", [1, 7, 96])
def test_products_of_floats(steps: int) -> None:
    """Of numbers and rows that lie apart, into rows that lie apart: nothing between them is touched."""
    rng = np.random.default_rng(steps)
    a, b = rng.normal(size=(steps, ROWS)).astype(np.float32).T, rng.normal(size=(steps, 96)).astype(np.float32)
    c, start = np.zeros((ROWS, 40), np.float32), rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    multiply(a, b, start, c)
    np.testing.assert_allclose(c[:, :COLUMNS], a.astype(float) @ b[:, :COLUMNS] + start, atol=1e-5)
    assert not c[:, COLUMNS:].any()


def activate(kind: Any, tile: Any) -> None:
    gelu_tile(kind, tile.ctypes.data, tile.strides[0])


@pytest.mark.parametrize("wide", [True, False], ids=["quick", "portable"])
@pytest.mark.parametrize(("kind", "off"), [(np.float32, 5e-7), (np.int16, 8e-6), (np.uint8, 8e-6)])
def test_gelu(kind: type[np.generic], off: float, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the error function in 64 bits; what bytes without sign are to stand for is raised above zero."""
    if not wide:
        monkeypatch.setattr(gelu, "has_wide_registers", lambda: False)
    x = np.concatenate([np.linspace(-12, 12, ROWS * COLUMNS - 5), [0, -0.0, 1e-30, 80, np.nan]]).astype(np.float32)
    tile = x.reshape(ROWS, COLUMNS).copy()
    njit(activate)(kind(0), tile)
    raised = RAISE if kind is np.uint8 else 0
    expected = [raised + value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x.astype(float)]
    np.testing.assert_allclose(tile.ravel(), expected, atol=off, rtol=1e-6)
    assert raised == 0 or np.nanmin(tile) >= 0


@njit
def sloped(x: Any, grad: Any, result: Any) -> None:
    gelu_slopes(x.ctypes.data, grad.ctypes.data, result.ctypes.data, len(x) // COLUMNS)


def test_slopes_of_gelu() -> None:
    """Against the normal distribution in 64 bits."""
    x = np.concatenate([np.linspace(-12, 12, 92), [0, -0.0, 1e-30, 80]]).astype(np.float32)
    grad, result = np.linspace(-3, 3, 96).astype(np.float32), np.empty(96, np.float32)
    sloped(x, grad, result)
    slopes = [
        0.5 * (1 + math.erf(value / math.sqrt(2))) + value * math.exp(-value * value / 2) / math.sqrt(2 * math.pi)
        for value in x.astype(float)
    ]
    np.testing.assert_allclose(result, grad * np.array(slopes), atol=1e-6, rtol=1e-6)


@njit
def weigh(logits: Any, length: int, shares: Any) -> None:
    softmax_tile(logits.ctypes.data, logits.strides[0], length, logits.shape[1] // 32, shares.ctypes.data)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 33, 95, 96])
@pytest.mark.parametrize("spread", [1e-3, 5.0, 1e4])
def test_softmax_sees_as_many_numbers_as_there_are(length: int, spread: float) -> None:
    """What lies behind them, here NaN and infinity, gets no weight; nor does a large logit overflow."""
    rng = np.random.default_rng(length)
    logits = np.full((ROWS, -(-length // 32) * 32), np.nan, np.float32)
    logits[:, length + 1 :] = np.inf
    logits[:, :length] = rng.normal(size=(ROWS, length)) * spread
    wide = logits[:, :length].astype(float)
    expected = np.exp(wide - wide.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    shares = np.empty(ROWS, np.float32)
    weigh(logits, length, shares)
    found = logits * shares[:, None]
    np.testing.assert_allclose(found[:, :length], expected, atol=3e-7)
    assert np.abs(found[:, length:]).sum() < 1e-30


def test_powers_half_way_between_whole_numbers() -> None:
    """What is left there may be rounded up or down, but once: else a weight is twice what it should be."""
    places = -(np.arange(1, 40, 2) / 2 / np.log2(np.e)).astype(np.float32)
    near = np.concatenate([places, *(np.nextafter(places, np.float32(side)) for side in (-100, 0))])
    halves = near[np.mod(near * np.float32(np.log2(np.e)), 1) == 0.5]
    assert len(halves) > 5
    logits = np.zeros((ROWS, 96), np.float32)
    logits[:, 1 : len(halves) + 1] = halves
    expected = np.exp(logits[:, : len(halves) + 1].astype(float))
    shares = np.empty(ROWS, np.float32)
    weigh(logits, len(halves) + 1, shares)
    np.testing.assert_allclose(logits[:, : len(halves) + 1], expected, rtol=1e-6)


@njit
def measured(row: Any) -> Any:
    return extent(row.ctypes.data, len(row) // 32)


@njit
def rounded(row: Any, q: Any, factor: Any, shift: Any) -> None:
    to_numbers(row.ctypes.data, len(row) // 32, q[0], q.ctypes.data, factor, shift)


def test_the_furthest_number_and_the_squares_of_a_row() -> None:
    row = np.random.default_rng(0).normal(size=96).astype(np.float32)
    row[70] = -9
    most, squares = measured(row)
    assert most == 9
    assert squares == pytest.approx(np.square(row, dtype=float).sum(), rel=1e-6)


@pytest.mark.parametrize(("kind", "shift"), [(np.int16, 0), (np.uint8, 128)])
def test_numbers_are_rounded_to_the_nearest_integer(kind: Any, shift: int) -> None:
    row = np.linspace(-127, 127, 64).astype(np.float32)
    q = np.zeros(64, kind)
    rounded(row, q, np.float32(1), np.int32(shift))
    np.testing.assert_array_equal(q.astype(int), np.rint(row).astype(int) + shift)


def test_floats_stay_as_they_are() -> None:
    row, found = np.linspace(-1, 1, 64).astype(np.float32), np.zeros(64, np.float32)
    rounded(row, found, np.float32(1), np.int32(7))
    np.testing.assert_array_equal(found, row)
