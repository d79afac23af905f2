"""Products of float32 matrices on one core of a CPU: on AMD's with wide registers a tenth faster than PyTorch's.

Compiled by Numba at the first use and kept on disk. They let go of the GIL, so that parts of a pass run side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.model.compiled import compiled, helper
from app.model.vnni.gelu import gelu_slopes, gelu_tile
from app.model.vnni.tile_size import COLUMNS, ROWS
from app.model.vnni.tiles import float_tile
from training.cross_encoder.packed.bf16 import narrow

BYTES = 4


@helper
def _into(a: Any, t: int, panel: Any, start: Any, target: int, step: int) -> None:
    """Writes the product of six rows of `a` from `t` on and of `panel`, plus `start`, to rows `step` bytes apart."""
    float_tile(
        a.ctypes.data + t * a.strides[0], a.strides[0], BYTES, panel.ctypes.data, COLUMNS * BYTES, len(panel),
        start.ctypes.data, 0, target, step,
    )  # fmt: skip


@helper
def store(tile: Any, rows: int, out: Any, t: int, first: int, width: int) -> None:
    """Writes a tile's first rows and columns to those of `out` from row `t` and column `first` on."""
    for r in range(rows):
        line, own = out[t + r][first : first + width], tile[r]
        for c in range(width):
            line[c] = narrow(own[c], line[c])


@helper
def _product(a: Any, panel: Any, start: Any, tile: Any, out: Any, first: int, width: int) -> None:
    """The `width` columns of `out` from `first` on become the product of `a` and `panel`, plus `start`."""
    for place in range(0, len(a), ROWS):
        t = min(place, len(a) - ROWS)  # the last ones overlap
        if width == COLUMNS:
            _into(a, t, panel, start, out.ctypes.data + t * out.strides[0] + first * BYTES, out.strides[0])
        else:
            _into(a, t, panel, start, tile.ctypes.data, COLUMNS * BYTES)
            store(tile, ROWS, out, t, first, width)


@helper
def _activate(out: Any, first: int, activated: Any) -> None:
    """32 columns of `activated`, from `first` on, become GELU of those of `out`."""
    step = activated.strides[0]
    for place in range(0, len(out), ROWS):
        t = min(place, len(out) - ROWS)
        for r in range(ROWS):
            line, own = out[t + r][first:], activated[t + r][first:]
            for c in range(COLUMNS):
                own[c] = line[c]
        gelu_tile(out[0, 0], activated.ctypes.data + t * step + first * BYTES, step)


@compiled
def multiply(a: Any, weights: Any, biases: Any, out: Any, activated: Any) -> None:
    """`out`, shape (at least 6 rows, columns), becomes what linear layers make of `a`, side by side.

    `weights`: of each layer, shape (outputs, inputs), `biases`: of each, (outputs,) or empty. `activated`, unless it is
    empty, becomes GELU of `out`: then outputs are a multiple of 32.
    """
    inputs = a.shape[1]
    panel, tile = np.empty((inputs, COLUMNS), np.float32), np.empty((ROWS, COLUMNS), np.float32)
    start = np.zeros(COLUMNS, np.float32)
    first = 0
    for layer in range(len(weights)):
        weight, bias = weights[layer], biases[layer]
        for begin in range(0, len(weight), COLUMNS):
            width = min(COLUMNS, len(weight) - begin)
            for i in range(inputs):
                own = panel[i]
                for c in range(width):
                    own[c] = weight[begin + c, i]
            if len(bias):
                start[:width] = bias[begin : begin + width]
            _product(a, panel, start, tile, out, first + begin, width)
            if activated.size:
                _activate(out, first + begin, activated)
        first += len(weight)


@compiled
def multiply_back(grad: Any, weights: Any, result: Any) -> None:
    """`result` becomes the gradient of what was multiplied, where `grad` is that of the product; see `multiply`."""
    outputs, inputs = grad.shape[1], result.shape[1]
    panel, tile = np.empty((outputs, COLUMNS), np.float32), np.empty((ROWS, COLUMNS), np.float32)
    start = np.zeros(COLUMNS, np.float32)
    for begin in range(0, inputs, COLUMNS):
        width = min(COLUMNS, inputs - begin)
        first = 0
        for layer in range(len(weights)):
            weight = weights[layer]
            for r in range(len(weight)):
                line, own = weight[r][begin : begin + width], panel[first + r]
                for c in range(width):
                    own[c] = line[c]
            first += len(weight)
        _product(grad, panel, start, tile, result, begin, width)


@compiled
def multiply_by_slope(grad: Any, value: Any, result: Any) -> None:
    """`result` becomes `grad` times the slope of GELU at `value`: flat arrays of a multiple of 32 numbers."""
    gelu_slopes(value.ctypes.data, grad.ctypes.data, result.ctypes.data, len(value) // COLUMNS)
