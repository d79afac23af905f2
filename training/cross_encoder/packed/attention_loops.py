"""Attention with dropout within rows of one length, forwards and backwards, on one core of a CPU.

Compiled by Numba at the first use and kept on disk. What belongs to tokens is float32, or bfloat16 as int16. For each
head of each row what the products need is copied to buffers of float32 that whole tiles fit: rows of a multiple of 32
numbers, six of them to spare. What lies behind is not looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32

from app.model.compiled import compiled, helper
from app.model.vnni.rows import LOWEST, softmax_tile
from app.model.vnni.tile_size import COLUMNS, ROWS
from app.model.vnni.tiles import float_tile
from training.cross_encoder.packed.bf16 import widen
from training.cross_encoder.packed.kernels import bits
from training.cross_encoder.packed.products import BYTES, store


@helper
def _panels(count: int) -> int:
    return (count + COLUMNS - 1) // COLUMNS


@helper
def _copy(source: Any, first: int, length: int, column: int, size: int, rows: Any) -> None:
    """Of each of `length` rows of `source` the heads' numbers from `column` on.

    For all heads at once, because memory is read fastest in the order in which it lies.
    """
    for i in range(length):
        line = source[first + i][column:]
        for h in range(len(rows)):
            part, own = line[h * size : (h + 1) * size], rows[h][i]
            for c in range(size):
                own[c] = widen(part[c])


@helper
def _turn(source: Any, first: int, length: int, column: int, size: int, factor: Any, panels: Any) -> None:
    """The same times `factor`, as panels of 32 rows with a row in each column."""
    for i in range(length):
        line, panel, place = source[first + i][column:], i // COLUMNS, i % COLUMNS
        for h in range(len(panels)):
            part, own = line[h * size : (h + 1) * size], panels[h][panel]
            for c in range(size):
                own[c, place] = widen(part[c]) * factor


@helper
def _multiply(a: int, step: int, following: int, b: Any, inner: int, out: Any, first: int, rows: int, column: int,
              size: int) -> None:  # fmt: skip
    """Writes the product of `a`, of which rows are `step` and numbers `following` bytes apart, with rows of `b`."""
    tile, zeros = np.empty((ROWS, COLUMNS), np.float32), np.zeros(COLUMNS, np.float32)
    width = b.strides[0]
    for part in range(0, size, COLUMNS):
        for t in range(0, rows, ROWS):
            float_tile(
                a + t * step, step, following, b.ctypes.data + part * BYTES, width, inner, zeros.ctypes.data, 0,
                tile.ctypes.data, COLUMNS * BYTES,
            )  # fmt: skip
            store(tile, min(ROWS, rows - t), out, first + t, column + part, min(COLUMNS, size - part))


@helper
def _by_panels(a: Any, panels: Any, size: int, out: Any) -> None:
    """The first six rows of `out` become the product of those of `a` with turned rows."""
    zeros = np.zeros(COLUMNS, np.float32)
    for p in range(len(panels)):
        float_tile(
            a.ctypes.data, a.strides[0], BYTES, panels[p].ctypes.data, COLUMNS * BYTES, size, zeros.ctypes.data, 0,
            out.ctypes.data + p * COLUMNS * BYTES, out.strides[0],
        )  # fmt: skip


@helper
def _hide(logits: Any, place: int, reach: int, length: int) -> None:
    """Six rows of logits, of which the first is that of the token at `place`, lose those of tokens out of reach."""
    for r in range(ROWS):
        for c in range(length):
            if abs(place + r - c) > reach:
                logits[r, c] = float32(LOWEST)


@helper
def _drop(weights: Any, share: Any, mask: Any, place: int, dropped: Any) -> None:
    """`weights` are multiplied by `share`, and `dropped` becomes what `mask` leaves of them: whole panels."""
    key, threshold, scale = mask
    low, high = key
    for p in range(0, len(dropped), COLUMNS):
        w, d, start = weights[p : p + COLUMNS], dropped[p : p + COLUMNS], place + p
        for c in range(COLUMNS):
            w[c] *= share
            d[c] = w[c] * scale if bits(start + c, low, high) >= threshold else float32(0)


@helper
def _drop_slopes(weights: Any, mask: Any, place: int, length: int, factor: Any, slopes: Any, dropped: Any) -> None:
    """`dropped` becomes what `mask` leaves of `weights`, and `slopes`, the gradient of that, that of the logits."""
    key, threshold, scale = mask
    low, high = key
    mean = float32(0)
    for c in range(length):
        times = scale if bits(place + c, low, high) >= threshold else float32(0)
        dropped[c] = weights[c] * times
        mean += dropped[c] * slopes[c]
        slopes[c] *= times
    for c in range(length):
        slopes[c] = weights[c] * (slopes[c] - mean) * factor


@compiled
def attend(qkv: Any, start: int, shape: Any, factor: Any, reach: int, mask: Any, weights: Any, context: Any) -> None:
    """`context` becomes the attention of the tokens from `start` on, and `weights` what they give each other.

    `shape`: rows, their length, heads and columns of a head. `qkv`: shape (tokens, 3 * heads * size), `context`:
    (tokens, heads * size), `weights`: (rows * heads, length rounded up to 6, length rounded up to 32). Tokens more than
    `reach` apart do not see each other. `mask` drops from the weights, as from an array of shape (rows * heads, length,
    length); `weights` are those before.
    """
    rows, length, heads, size = shape
    wide, panels = heads * size, _panels(length)
    q = np.empty((heads, length + ROWS, _panels(size) * COLUMNS), np.float32)
    v = np.empty_like(q)
    k = np.empty((heads, panels, size, COLUMNS), np.float32)
    dropped, shares = np.empty((ROWS, panels * COLUMNS), np.float32), np.empty(ROWS, np.float32)
    for row in range(rows):
        first = start + row * length
        _copy(qkv, first, length, 0, size, q)
        _turn(qkv, first, length, wide, size, factor, k)
        _copy(qkv, first, length, 2 * wide, size, v)
        for h in range(heads):
            one = row * heads + h
            for t in range(0, length, ROWS):
                own = weights[one][t : t + ROWS]
                _by_panels(q[h][t:], k[h], size, own)
                if reach < length:
                    _hide(own, t, reach, length)
                softmax_tile(own.ctypes.data, own.strides[0], length, panels, shares.ctypes.data)
                count = min(ROWS, length - t)
                for r in range(count):
                    _drop(own[r], shares[r], mask, (one * length + t + r) * length, dropped[r])
                below = dropped.ctypes.data
                _multiply(below, dropped.strides[0], BYTES, v[h], length, context, first + t, count, h * size, size)


@compiled
def attend_gradient(
    qkv: Any, start: int, shape: Any, factor: Any, mask: Any, weights: Any, grad: Any, result: Any
) -> None:
    """`result` becomes the gradient of `qkv` where `grad` is that of the context; see `attend`.

    With weights P, factors M of dropout and G, the gradient of the context, that of the logits is
    S = P * (GV' * M - rowsum(P * GV' * M)), that of queries SK, of keys S'Q, of values (P * M)'G.
    """
    rows, length, heads, size = shape
    wide, panels = heads * size, _panels(length)
    q = np.empty((heads, length + ROWS, _panels(size) * COLUMNS), np.float32)
    k, g = np.empty_like(q), np.empty_like(q)
    v = np.empty((heads, panels, size, COLUMNS), np.float32)
    slopes = np.empty((length + ROWS, panels * COLUMNS), np.float32)
    dropped = np.empty_like(slopes)
    line = slopes.strides[0]
    for row in range(rows):
        first = start + row * length
        _copy(qkv, first, length, 0, size, q)
        _copy(qkv, first, length, wide, size, k)
        _turn(qkv, first, length, 2 * wide, size, float32(1), v)
        _copy(grad, first, length, 0, size, g)
        for h in range(heads):
            one, column = row * heads + h, h * size
            for t in range(0, length, ROWS):
                _by_panels(g[h][t:], v[h], size, slopes[t:])
                for r in range(t, min(t + ROWS, length)):
                    place = (one * length + r) * length
                    _drop_slopes(weights[one][r], mask, place, length, factor, slopes[r], dropped[r])
            _multiply(slopes.ctypes.data, line, BYTES, k[h], length, result, first, length, column, size)
            _multiply(slopes.ctypes.data, BYTES, line, q[h], length, result, first, length, wide + column, size)
            column += 2 * wide
            _multiply(dropped.ctypes.data, BYTES, line, g[h], length, result, first, length, column, size)
