"""Attention within rows, in float32 or by products of int16, as a core computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, int32

from app.model.compiled import helper
from app.model.vnni.rows import column_extents, extent, softmax_tile, to_numbers, to_pairs
from app.model.vnni.tile_size import COLUMNS, ROWS
from app.model.vnni.tiles import dot_tile, float_tile
from app.model.vnni.weights import LEVELS

MOST = LEVELS[16]
ROOM = 46240
"""Norm of what is multiplied by another such row or column: their product stays in int32, whatever their rounding adds
to norms of up to 30,000 numbers."""


@helper
def attend_floats(qkv: Any, ends: Any, factor: Any, keys: Any, weights: Any, context: Any) -> None:
    """Attention of one head within each row, which end at `ends`; `factor` scales the logits.

    `context`: shape (tokens, size), `qkv`: (tokens, 3 * size). Scratch: `keys` of size * the longest row, rounded up
    to 32, `weights` of ROWS times the same.
    """
    size = qkv.shape[1] // 3
    line, base = qkv.strides[0], qkv.ctypes.data
    tile, zeros = np.empty((ROWS, COLUMNS), np.float32), np.zeros(COLUMNS, np.float32)
    shares = np.empty(ROWS, np.float32)
    begin = 0
    for end in ends:
        length = end - begin
        panels = (length + COLUMNS - 1) // COLUMNS
        wide = panels * COLUMNS
        logits = weights[: ROWS * wide].reshape(ROWS, wide)
        turned = keys[: size * wide].reshape(panels, size, COLUMNS)
        for panel in range(panels):
            for j in range(COLUMNS):
                token = min(begin + panel * COLUMNS + j, end - 1)
                for d in range(size):
                    turned[panel, d, j] = qkv[token, size + d] * factor
        for t in range(0, length, ROWS):
            for panel in range(panels):
                float_tile(
                    base + (begin + t) * line, line, 4, turned[panel].ctypes.data, COLUMNS * 4, size,
                    zeros.ctypes.data, 0, logits.ctypes.data + panel * COLUMNS * 4, wide * 4,
                )  # fmt: skip
            rows = min(ROWS, length - t)
            softmax_tile(logits.ctypes.data, wide * 4, length, panels, shares.ctypes.data)
            for part in range(0, size, COLUMNS):
                float_tile(
                    logits.ctypes.data, wide * 4, 4, base + begin * line + (2 * size + part) * 4, line, length,
                    zeros.ctypes.data, 0, tile.ctypes.data, COLUMNS * 4,
                )  # fmt: skip
                for r in range(rows):
                    for c in range(COLUMNS):
                        context[begin + t + r, part + c] = tile[r, c] * shares[r]
        begin = end


@helper
def _numbers(scratch: Any, rows: int, columns: int) -> Any:
    """The first numbers of `scratch` in that shape, and what lies behind them."""
    return scratch[: rows * columns].reshape(rows, columns), scratch[rows * columns :]


@helper
def _scales(start: int, step: int, length: int, most: Any, squares: Any) -> None:
    """The largest sizes and the sums of squares of as many columns as there are places for."""
    for part in range(0, len(most), COLUMNS):
        column_extents(start + part * 4, step, length, most[part:].ctypes.data, squares[part:].ctypes.data)


@helper
def _scale(largest: Any, norm: Any, squares: Any) -> Any:
    """What integers of numbers up to `largest`, with a norm of at most the root of `norm`, are to be times.

    NaN where not all numbers are finite, or the sum of their `squares` is not: no integer says so.
    """
    if not squares < np.inf:
        return float32(np.nan)
    return max(max(largest, float32(1e-30)) / float32(MOST), np.sqrt(norm) / float32(ROOM))


@helper
def _round(start: int, step: int, length: int, result: Any, most: Any, squares: Any) -> Any:
    """`result` becomes the integers of its columns of rows in float32 from `start` on; returns the scale of all."""
    _scales(start, step, length, most, squares)
    panels = len(most) // COLUMNS
    largest, norm = extent(most.ctypes.data, panels)  # no row's norm is over that of the columns' largest numbers
    scale = _scale(largest, norm, np.sum(squares))
    for i in range(length):
        target = result.ctypes.data + i * result.strides[0]
        to_numbers(start + i * step, panels, result[0, 0], target, float32(1) / scale, int32(0))
    return scale


@helper
def _turn(rows: Any, panels: Any) -> None:
    """`panels`, shape (panels, pairs of columns, 32), become `rows`, shape (rows, pairs of columns), turned."""
    for i in range(len(rows)):
        own, panel, place = rows[i], panels[i // COLUMNS], i % COLUMNS
        for c in range(len(own)):
            panel[c, place] = own[c]


@helper
def _pair(start: int, step: int, length: int, result: Any, scales: Any, most: Any, squares: Any) -> None:
    """`result`, shape (panels, pairs, 64), becomes the integers of pairs of rows, `scales` those of their columns."""
    _scales(start, step, length, most, squares)
    for c in range(len(scales)):
        scales[c] = _scale(most[c], squares[c], squares[c])
        most[c] = float32(1) / scales[c]
    for part in range(len(result)):
        c = part * COLUMNS
        to_pairs(start + c * 4, step, result.shape[1], most[c:].ctypes.data, result[part].ctypes.data)


@helper
def attend_integers(qkv: Any, ends: Any, factor: Any, scratch: Any, logits: Any, context: Any) -> None:
    """As `attend_floats`, with all that is multiplied rounded to int16.

    A row's queries have one scale, so have its keys, and each column of its values; a token's weights have one too. The
    largest of these is 1 before they are divided by their sum, so their norm is at most its root.
    Scratch: `scratch`, int16, of 4 * size + ROWS times the longest row, rounded up to 32, and 8 * ROWS * size more.
    """
    size, line = qkv.shape[1] // 3, qkv.strides[0]
    most, squares, scales = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    zeros, ones, starts = np.zeros(COLUMNS, np.float32), np.ones(COLUMNS, np.float32), np.zeros(COLUMNS, np.int32)
    shares, both = np.empty(ROWS, np.float32), np.empty(1, np.float32)
    begin = 0
    for end in ends:
        length = end - begin
        panels, pairs = (length + COLUMNS - 1) // COLUMNS, (length + 1) // 2
        wide = panels * COLUMNS
        base = qkv.ctypes.data + begin * line
        q, rest = _numbers(scratch, length + ROWS, size)
        k, rest = _numbers(rest, length, size)
        turned, rest = _numbers(rest, panels * size // 2, 2 * COLUMNS)
        values, rest = _numbers(rest, pairs * size // COLUMNS, 2 * COLUMNS)
        weights, rest = _numbers(rest, ROWS, wide)
        both[0] = _round(base, line, length, q, most, squares) * factor
        both[0] *= _round(base + size * 4, line, length, k, most, squares)
        _turn(k.view(np.int32), turned.view(np.int32).reshape(panels, size // 2, COLUMNS))
        own = values.reshape(size // COLUMNS, pairs, 2 * COLUMNS)
        _pair(base + 2 * size * 4, line, length, own, scales, most, squares)
        for t in range(0, length, ROWS):
            for panel in range(panels):
                dot_tile(
                    q[0, 0], q.ctypes.data + t * size * 2, size * 2, turned.ctypes.data + panel * size * COLUMNS * 2,
                    size // 2, 1, starts.ctypes.data, both.ctypes.data, 0, ones.ctypes.data, zeros.ctypes.data,
                    zeros.ctypes.data, 0, logits.ctypes.data + panel * COLUMNS * 4, wide * 4,
                )  # fmt: skip
            softmax_tile(logits.ctypes.data, wide * 4, length, panels, shares.ctypes.data)
            for r in range(ROWS):
                times = min(float32(MOST), float32(ROOM) * np.sqrt(shares[r]))
                place = weights.ctypes.data + r * wide * 2
                to_numbers(logits.ctypes.data + r * wide * 4, panels, weights[0, 0], place, times, int32(0))
                shares[r] /= times
            for part in range(len(own)):
                c = part * COLUMNS
                dot_tile(
                    q[0, 0], weights.ctypes.data, wide * 2, own[part].ctypes.data, pairs, 1, starts.ctypes.data,
                    shares.ctypes.data, 4, scales[c:].ctypes.data, zeros.ctypes.data, zeros.ctypes.data, 0,
                    context.ctypes.data + (begin + t) * context.strides[0] + c * 4, context.strides[0],
                )  # fmt: skip
        begin = end


@helper
def attend_first(query: Any, x: Any, ends: Any, layer: Any, turned: Any, weights: Any, context: Any) -> None:
    """Attention of each row's first token to the states `x` of its row, without keys and values of all of them.

    The product of a query q with a key Wx + b differs from (W'q)x by what is the same for all tokens; the mean of
    values Wx + b is W(mean of x) + b. Scratch: `weights`, as for `attend_floats`; of its rows only the first counts.
    """
    heads, factor = layer.heads, layer.factor
    key, value, value_bias = turned
    wide, hidden = key.shape
    size = wide // heads
    padded_size = query.shape[1] // heads
    asked, mean = np.empty(hidden, np.float32), np.empty(hidden, np.float32)
    shares = np.empty(ROWS, np.float32)
    begin = 0
    for row in range(len(ends)):
        end = ends[row]
        length = end - begin
        wide_row = (length + COLUMNS - 1) // COLUMNS * COLUMNS
        logits = weights[: ROWS * wide_row]
        for h in range(heads):
            asked[:] = 0
            for d in range(size):
                part, line = query[row, h * padded_size + d] * factor, key[h * size + d]
                for i in range(hidden):
                    asked[i] += part * line[i]
            for j in range(length):
                state, product = x[begin + j], float32(0)
                for i in range(hidden):
                    product += state[i] * asked[i]
                logits[j] = product
            softmax_tile(logits.ctypes.data, wide_row * 4, length, wide_row // COLUMNS, shares.ctypes.data)
            mean[:] = 0
            for j in range(length):
                state, part = x[begin + j], logits[j] * shares[0]
                for i in range(hidden):
                    mean[i] += part * state[i]
            for d in range(size):
                line, product = value[h * size + d], value_bias[h * size + d]
                for i in range(hidden):
                    product += mean[i] * line[i]
                context[row, h * padded_size + d] = product
        begin = end
