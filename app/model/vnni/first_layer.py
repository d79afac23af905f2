"""Queries, keys and values of the first layer from tables: there they depend on nothing but a token and its place.

With e the sum of a token's embeddings, m and f its mean and the inverse of its deviation, g and b weight and bias of
the normalisation, a product with W of (e - m) * f * g + b is f * (Te - m * T1) + Wb, where T is W times g. Te is a sum
of three tables' rows again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.model.types import FloatArray
from app.model.vnni.spreading import spread
from app.model.vnni.weights import LEVELS, Shape, Tensors

LARGEST_BYTES = 100 * 2**20
"""Larger tables are not made: memory of wider models is worth more than a few hundredths of their time."""
SLAB = 512
"""Words of which products exist in float32 at a time."""


class Tables(NamedTuple):
    """`words`, int16, shape (vocabulary, columns), with `scales` of each head's columns, shape (vocabulary, heads).

    In float32 `places` and `segments`, shapes (positions, columns) and (types, columns); `sums`, T1, and `bias`, Wb and
    the layer's own, shape (columns,).
    """

    words: NDArray[np.int16]
    scales: FloatArray
    places: FloatArray
    segments: FloatArray
    sums: FloatArray
    bias: FloatArray


def empty_tables() -> Tables:
    """For layers that need none."""
    rows, line = np.empty((0, 0), np.float32), np.empty(0, np.float32)
    return Tables(rows.astype(np.int16), rows, rows, rows, line, line)


def first_tables(tensors: Tensors, shape: Shape) -> Tables:
    """Tables of the columns of queries, keys and values of a layer that is not the last, in the order of its product.

    They are empty where they would be large, and in float32, which rounding to int16 would spoil.
    """
    integers, words = tensors["layers.0.inputs.weight"], tensors["embeddings.words"]
    if integers.dtype == np.float32 or 2 * len(words) * len(integers) > LARGEST_BYTES:
        return empty_tables()
    with np.errstate(invalid="ignore", over="ignore"):  # the first logits tell of weights that are no numbers
        return _tables(tensors, shape)


def _tables(tensors: Tensors, shape: Shape) -> Tables:
    integers, scales = tensors["layers.0.inputs.weight"], tensors["layers.0.inputs.scales"]
    words, word_scales = tensors["embeddings.words"], tensors["embeddings.scales"]
    size = integers.shape[1] // scales.shape[1]
    weights = integers * np.repeat(scales, size, axis=1)
    if shape.spread:
        weights = spread(weights)  # which undoes it
    gain, bias = (_wide(tensors[f"embeddings.norm.{name}"], words.shape[1]) for name in ("weight", "bias"))
    turned = np.ascontiguousarray((weights * gain).T)
    rows = np.empty((len(words), shape.heads, len(integers) // shape.heads), np.int16)
    row_scales = np.empty((len(words), shape.heads), np.float32)
    for first in range(0, len(words), SLAB):
        part = slice(first, first + SLAB)
        products = ((words[part] * word_scales[part, None]) @ turned).reshape(-1, *rows.shape[1:])
        row_scales[part] = np.maximum(np.abs(products).max(axis=2), np.float32(1e-30)) / np.float32(LEVELS[16])
        rows[part] = np.rint(products / row_scales[part, :, None])
    places, segments = (tensors[f"embeddings.{name}"] @ turned for name in ("positions", "types"))
    own_bias = weights @ bias + tensors["layers.0.inputs.bias"]
    return Tables(rows.reshape(len(words), -1), row_scales, places, segments, turned.sum(axis=0), own_bias)


def _wide(values: Any, width: int) -> FloatArray:
    return np.pad(values, (0, width - len(values)))
