"""Loops over elements that PyTorch would run as several passes each: dropout, the gradient of softmax under it, sums.

Compiled by Numba at the first use and kept on disk. They take flat arrays of float32 or float64, those of dropout of
bfloat16 as int16 too, and let go of the GIL, so that parts of a pass run side by side.
"""

from __future__ import annotations

from typing import Any

from numba import float32, uint32

from app.model.compiled import compiled, inlined
from training.cross_encoder.packed.bf16 import narrow, widen


@inlined
def bits(place: Any, low: Any, high: Any) -> Any:
    """32 bits for the element at `place` under the key `high`, `low`: an integer hash (Wellons, "lowbias32") of both.

    The key enters twice, so that two keys do not give the same sequence from another start.
    """
    x = uint32(uint32(place) + low)
    x = uint32(uint32(x ^ (x >> uint32(16))) * uint32(0x7FEB352D))
    x = uint32(x ^ high)
    x = uint32(uint32(x ^ (x >> uint32(15))) * uint32(0x846CA68B))
    return uint32(x ^ (x >> uint32(16)))


@compiled
def drop(values: Any, result: Any, key: Any, threshold: Any, scale: Any) -> None:
    """`result` becomes `scale * values`, and 0 where the bits are below `threshold`."""
    low, high = key
    for i in range(len(values)):
        kept = widen(values[i]) * scale if bits(i, low, high) >= threshold else float32(0)
        result[i] = narrow(kept, result[i])


@compiled
def drop_add(values: Any, residual: Any, result: Any, key: Any, threshold: Any, scale: Any) -> None:
    """As `drop`, plus `residual`."""
    low, high = key
    for i in range(len(values)):
        kept = widen(values[i]) * scale if bits(i, low, high) >= threshold else float32(0)
        result[i] = narrow(widen(residual[i]) + kept, result[i])


@compiled
def softmax_gradient(weights: Any, dropped: Any, slope: Any, length: int, scale: Any, factor: Any) -> None:
    """Turns the gradient of `dropped`, in `slope`, into `factor` times that of the logits of `weights`, in place.

    Rows of `length` elements: `weights` is a softmax and `dropped` what `drop` with `scale` made of it. With the
    gradient G of the dropped ones, that of the logits is weights * (G * scale where kept - sum(dropped * G)). A
    weight of zero in `dropped` was dropped, or is zero, where either gives zero.
    """
    for start in range(0, len(weights), length):
        w, d, g = weights[start : start + length], dropped[start : start + length], slope[start : start + length]
        mean = float32(0)
        for i in range(length):
            mean += d[i] * g[i]
        for i in range(length):
            inner = g[i] * scale if d[i] != 0 else float32(0)
            g[i] = w[i] * (inner - mean) * factor


@compiled
def add_rows(values: Any, places: Any, table: Any) -> None:
    """Adds each row of `values` to the row of `table` at its place."""
    for i in range(len(values)):
        row, own = table[places[i]], values[i]
        for c in range(len(row)):
            row[c] += own[c]
