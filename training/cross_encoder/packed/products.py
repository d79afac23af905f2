"""Products of float32 matrices on one core of a CPU, a tenth faster than PyTorch's where registers are wide.

Compiled by Numba at the first use and kept on disk. They let go of the GIL, so that parts of a pass run side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.model.compiled import compiled
from app.model.vnni.rows import gelu_slopes, gelu_tile
from app.model.vnni.tiles import COLUMNS, ROWS, float_tile


@compiled
def lay_out(weight: Any, first: int, forward: Any, backward: Any) -> None:
    """Writes `weight`, shape (outputs, inputs), as the outputs from the `first` on of several that are taken as one.

    `forward`: shape (panels of 32 outputs, inputs, 32), `backward`: (panels of 32 inputs, outputs, 32), both zero at
    first.
    """
    outputs, inputs = weight.shape
    for r in range(outputs):
        panel, column = (first + r) // COLUMNS, (first + r) % COLUMNS
        for i in range(inputs):
            forward[panel, i, column] = weight[r, i]
        for i in range(inputs):
            backward[i // COLUMNS, first + r, i % COLUMNS] = weight[r, i]


@compiled
def multiply(a: Any, b: Any, bias: Any, out: Any, activated: Any) -> None:
    """`out`, shape (at least 6 rows, columns), becomes the product of `a` and `b` plus `bias`.

    `b`: shape (panels of 32 columns, inputs, 32), `bias`: (panels, 32). `activated`, unless it is empty, becomes GELU
    of `out`.
    """
    rows, columns = out.shape
    tile = np.empty((ROWS, COLUMNS), np.float32)
    for panel in range(len(b)):
        start, right = bias[panel].ctypes.data, b[panel].ctypes.data
        first = panel * COLUMNS
        width = min(COLUMNS, columns - first)
        for place in range(0, rows, ROWS):
            t = min(place, rows - ROWS)  # the last ones overlap
            left = a[t:].ctypes.data
            float_tile(left, a.strides[0], 4, right, COLUMNS * 4, b.shape[1], start, 0, tile.ctypes.data, COLUMNS * 4)
            for r in range(ROWS):
                for c in range(width):
                    out[t + r, first + c] = tile[r, c]
            if activated.size:
                gelu_tile(tile.ctypes.data)
                for r in range(ROWS):
                    for c in range(width):
                        activated[t + r, first + c] = tile[r, c]


@compiled
def multiply_by_slope(grad: Any, value: Any, result: Any) -> None:
    """`result` becomes `grad` times the slope of GELU at `value`: flat arrays of a multiple of 32 numbers."""
    gelu_slopes(value.ctypes.data, grad.ctypes.data, result.ctypes.data, len(value) // COLUMNS)
