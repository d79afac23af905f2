"""Loops of a BERT encoder: everything but the head. Rows lie end to end, float32 between products.

Widths are padded to multiples of 32 with zeros, buffers have `ROWS` rows to spare, whose contents nobody reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32

from app.model.compiled import compiled, helper
from app.model.vnni.attention import attend_first, attend_floats, attend_integers
from app.model.vnni.gelu import gelu_tile
from app.model.vnni.rows import extent, fetch, to_numbers
from app.model.vnni.spreading import SIZE, spread_block
from app.model.vnni.tile_size import COLUMNS, ROWS
from app.model.vnni.tiles import dot_tile

PLAIN, GELU, ADDED = 0, 1, 2
"""What becomes of a product: stored, stored behind GELU, added to what is there."""


@helper
def _normalise_row(row: Any, norm: Any, epsilon: Any) -> Any:
    """Layer normalisation by weight and bias, in place; the mean there was, and the inverse of the deviation."""
    weight, bias = norm
    size = len(weight)
    mean = float32(0)
    for i in range(size):
        mean += row[i]
    mean /= float32(size)
    squares = float32(0)
    for i in range(size):
        squares += (row[i] - mean) * (row[i] - mean)
    factor = float32(1.0) / np.sqrt(squares / float32(size) + epsilon)
    for i in range(size):
        row[i] = (row[i] - mean) * factor * weight[i] + bias[i]
    return mean, factor


@helper
def _normalise(x: Any, tokens: int, norm: Any, epsilon: Any) -> None:
    """Layer normalisation of `tokens` rows in place, of as many columns as weight and bias have."""
    for t in range(tokens):
        _normalise_row(x[t, : len(norm[0])], norm, epsilon)


@compiled
def embed(
    ids: Any, types: Any, positions: Any, words: Any, scales: Any, places: Any, segments: Any, norm: Any, epsilon: Any,
    x: Any, moments: Any,
) -> None:  # fmt: skip
    """`x`, shape (tokens, hidden), becomes the normalised sum of three tables' rows.

    `words` are int16 with a scale for each; `norm`: weight and bias. `moments`, shape (tokens, 2), become the mean of
    each sum and the inverse of its deviation.
    """
    for t in range(len(ids)):
        word, scale, place, segment = words[ids[t]], scales[ids[t]], places[positions[t]], segments[types[t]]
        row = x[t]
        for i in range(len(word)):
            row[i] = float32(word[i]) * scale + place[i] + segment[i]
        moments[t, 0], moments[t, 1] = _normalise_row(row[: len(norm[0])], norm, epsilon)


@helper
def _quantise(x: Any, tokens: int, q: Any, scales: Any, first: int, blocks: int, limits: Any) -> None:
    """`blocks` of `q` from the `first` one on become `x` in integers, and `scales` what they are times.

    A scale is of one block of a row: `scales` has shape (rows, all blocks). `limits`: the largest integer, what is
    added to each, the largest norm of a block's integers, and whether blocks are spread before, as 128 numbers may be.
    Numbers that stay as they are have a scale of 1.
    """
    levels, shift, room, spread = limits
    size = q.shape[1] // scales.shape[1]
    panels = size // COLUMNS
    block = np.empty(SIZE, np.float32)
    start_x, start_q = x.ctypes.data, q.ctypes.data
    for t in range(tokens):
        for b in range(blocks):
            row = start_x + t * x.strides[0] + b * size * 4
            if spread:
                spread_block(row, block.ctypes.data)
                row = block.ctypes.data
            scale = float32(1)
            if levels > 0:
                most, squares = extent(row, panels)
                scale = max(max(most, float32(1e-30)) / levels, np.sqrt(squares) / room)
                if not squares < np.inf:
                    scale = float32(np.nan)  # no integer says so
            scales[t, first + b] = scale
            result = start_q + t * q.strides[0] + (first + b) * size * q.itemsize
            to_numbers(row, panels, q[0, 0], result, float32(1.0) / scale, shift)


@helper
def _multiply(q: Any, tokens: int, scales: Any, layer: Any, first: int, panels: int, out: Any, result: int) -> None:
    """`out` becomes, or has added, what `panels` of the layer from the `first` one on make of `q`; see `result`."""
    blocks, steps = layer.weights.shape[1:3]
    zeros = np.zeros(COLUMNS, np.float32)
    row_bytes, scale_bytes, out_bytes = q.strides[0], scales.strides[0], out.strides[0]
    start_q, start_s = q.ctypes.data, scales.ctypes.data
    for panel in range(first, first + panels):
        target = out.ctypes.data + (panel - first) * COLUMNS * 4
        weights, starts = layer.weights[panel].ctypes.data, layer.starts[panel].ctypes.data
        factors, bias = layer.factors[panel].ctypes.data, layer.bias[panel * COLUMNS :].ctypes.data
        for t in range(0, tokens, ROWS):
            own = target + t * out_bytes
            held, held_bytes = (own, out_bytes) if result == ADDED else (zeros.ctypes.data, 0)
            dot_tile(
                q[0, 0], start_q + t * row_bytes, row_bytes, weights, steps, blocks, starts,
                start_s + t * scale_bytes, scale_bytes, factors, bias, held, held_bytes, own, out_bytes,
            )  # fmt: skip
            if result == GELU:
                gelu_tile(q[0, 0], own, out_bytes)


@helper
def _shaped(q: Any, scales: Any, rows: int, layer: Any) -> Any:
    """Scratch in the shape of a layer's input."""
    blocks, steps, _, integers = layer.weights.shape[1:]
    width = blocks * steps * integers
    return q[: rows * width].reshape(rows, width), scales[: rows * blocks].reshape(rows, blocks)


@helper
def _project(x: Any, tokens: int, layer: Any, out: Any, result: int, scratch: Any) -> None:
    """A whole linear layer; see `result` of `_multiply`."""
    q, scales = _shaped(scratch.q, scratch.scales, x.shape[0], layer)
    _quantise(x, tokens, q, scales, 0, scales.shape[1], layer.limits)
    _multiply(q, tokens, scales, layer, 0, len(layer.weights), out, result)


@helper
def _rest(x: Any, tokens: int, context: Any, layer: Any, scratch: Any) -> None:
    """What follows attention, with `x` in place: two additions, each normalised.

    The wide layer's results exist in float32 for one block at a time, which a core's cache holds.
    """
    _project(context, tokens, layer.mixed, x, ADDED, scratch)
    _normalise(x, tokens, layer.attention_norm, layer.epsilon)
    q, scales = _shaped(scratch.q, scratch.scales, x.shape[0], layer.wide)
    _quantise(x, tokens, q, scales, 0, scales.shape[1], layer.wide.limits)
    q2, scales2 = _shaped(scratch.q2, scratch.scales2, x.shape[0], layer.narrow)
    blocks = scales2.shape[1]
    size = q2.shape[1] // blocks
    wide = scratch.block[: x.shape[0] * size].reshape(x.shape[0], size)
    panels = size // COLUMNS
    for b in range(blocks):
        _multiply(q, tokens, scales, layer.wide, b * panels, panels, wide, GELU)
        _quantise(wide, tokens, q2, scales2, b, 1, layer.narrow.limits)
    _multiply(q2, tokens, scales2, layer.narrow, 0, len(layer.narrow.weights), x, ADDED)
    _normalise(x, tokens, layer.output_norm, layer.epsilon)


@helper
def _look_up(tokens: Any, tables: Any, head: int, qkv: Any) -> None:
    """A head's queries, keys and values in the first layer: see `first_layer`."""
    ids, types, positions, moments = tokens
    width = qkv.shape[1]
    begin = head * width
    sums, bias = tables.sums[begin : begin + width], tables.bias[begin : begin + width]
    for t in range(len(ids)):
        mean, factor = moments[t, 0], moments[t, 1]
        scale, shift = tables.scales[ids[t], head] * factor, mean * factor
        word = tables.words[ids[t]][begin : begin + width]
        place = tables.places[positions[t]][begin : begin + width]
        segment = tables.segments[types[t]][begin : begin + width]
        own = qkv[t]
        for c in range(width):
            own[c] = float32(word[c]) * scale + (place[c] + segment[c]) * factor + (bias[c] - sums[c] * shift)


@compiled
def attend(
    x: Any, tokens: Any, tables: Any, ends: Any, layer: Any, first: int, last: int, context: Any, scratch: Any
) -> None:
    """`context` becomes the attention of the heads from `first` to before `last`.

    `x`: shape (tokens and some to spare, hidden), rows that end at `ends`; `context`: (the same, heads * size).
    `tokens`: ids, types, positions and moments, which `tables`, unless they are empty, are asked for.
    """
    rows, count, known = x.shape[0], len(tokens[0]), len(tables.words) > 0
    q, scales = _shaped(scratch.q, scratch.scales, rows, layer.inputs)
    size = context.shape[1] // layer.heads
    if known:
        start, row_bytes = tables.words.ctypes.data + first * 3 * size * 2, tables.words.strides[0]
        for t in range(count):
            fetch(start + tokens[0][t] * row_bytes, (last - first) * 3 * size * 2)
    else:
        _quantise(x, count, q, scales, 0, scales.shape[1], layer.inputs.limits)
    panels = len(layer.inputs.weights) // layer.heads
    qkv = scratch.qkv[: rows * 3 * size].reshape(rows, 3 * size)
    rounded = layer.inputs.limits[0] > 0
    for h in range(first, last):
        if known:
            _look_up(tokens, tables, h, qkv)
        else:
            _multiply(q, count, scales, layer.inputs, h * panels, panels, qkv, PLAIN)
        own = context[:, h * size : (h + 1) * size]
        if rounded:
            attend_integers(qkv, ends, layer.factor, scratch.pairs, scratch.logits, own)
        else:
            attend_floats(qkv, ends, layer.factor, scratch.keys, scratch.logits, own)


@compiled
def rest(x: Any, tokens: int, context: Any, layer: Any, scratch: Any) -> None:
    """What follows attention in a layer, with `x` in place: see `_rest`."""
    _rest(x, tokens, context, layer, scratch)


@compiled
def first_tokens(
    states: Any, ends: Any, layer: Any, turned: Any, x: Any, query: Any, context: Any, scratch: Any
) -> None:
    """What a layer makes of the first token of each row of `states`, into `x`, one below the other.

    `turned`: key and value weights and the value's bias, in float32. `query` and `context` are scratch.
    """
    begin = 0
    for row in range(len(ends)):
        x[row] = states[begin]
        begin = ends[row]
    _project(x, len(ends), layer.inputs, query, PLAIN, scratch)
    context[:] = 0
    attend_first(query, states, ends, layer, turned, scratch.logits, context)
    _rest(x, len(ends), context, layer, scratch)


@compiled
def classify(states: Any, dense: Any, out: Any, logits: Any) -> None:
    """The head: `logits`, shape (rows, labels), from a layer with tanh and one without, each weight and bias.

    Not by NumPy: the threads of its matrix product would stand in the way of ours.
    """
    hidden = np.empty(len(dense[1]), np.float32)
    for row in range(len(states)):
        _affine(states[row], dense, hidden)
        for i in range(len(hidden)):
            hidden[i] = np.tanh(hidden[i])
        _affine(hidden, out, logits[row])


@helper
def _affine(x: Any, layer: Any, result: Any) -> None:
    weight, bias = layer
    for i in range(len(bias)):
        line, product = weight[i], bias[i]
        for j in range(len(line)):
            product += line[j] * x[j]
        result[i] = product
