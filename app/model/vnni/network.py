"""A pass of BERT, RoBERTa or XLM-RoBERTa, in fixed point or float32, over the rows of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.model.packed.flat import Flat, Ints
from app.model.types import FloatArray
from app.model.vnni import kernels
from app.model.vnni.first_layer import empty_tables, first_tables
from app.model.vnni.gelu import RAISE
from app.model.vnni.team import Team, Wait, Workspace
from app.model.vnni.tile_size import ROWS
from app.model.vnni.weights import Product, Shape, Tensors, padded, product, read

CHUNK_TOKENS = 384
"""Tokens that a thread computes at a time, if rows are not longer: what lies between products stays in its cache."""
LEAST_TOKENS = 128
"""Of a part of a batch for one thread: with fewer, reading the weights again costs more than waiting."""
TYPES: dict[int, type[np.generic]] = {32: np.float32, 16: np.int16, 8: np.uint8}
"""Of what is multiplied by weights."""


class Layer(NamedTuple):
    """An encoder layer as the kernels take it; norms are weight and bias, `factor` scales logits of attention."""

    inputs: Product
    mixed: Product
    wide: Product
    narrow: Product
    attention_norm: tuple[FloatArray, FloatArray]
    output_norm: tuple[FloatArray, FloatArray]
    heads: int
    factor: np.float32
    epsilon: np.float32


class Scratch(NamedTuple):
    """What the kernels write to, all of them flat."""

    q: NDArray[Any]
    q2: NDArray[Any]
    scales: FloatArray
    scales2: FloatArray
    block: FloatArray
    qkv: FloatArray
    keys: FloatArray
    pairs: NDArray[np.int16]
    logits: FloatArray


class Network:
    """The weights, read once. Safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self.shape, tensors = read(path)
        count = sum(name.endswith(".mixed.weight") for name in tensors)
        self.layers = [_layer(tensors, f"layers.{i}.", self.shape) for i in range(count)]
        last = f"layers.{count - 1}."
        self.turned = tuple(tensors[last + name] for name in ("key.weight", "value.weight", "value.bias"))
        self.tables = tuple(tensors[f"embeddings.{name}"] for name in ("words", "scales", "positions", "types"))
        self.norm = _pair(tensors, "embeddings.norm")
        self.known = [first_tables(tensors, self.shape) if count > 1 else empty_tables()]
        self.known += [empty_tables()] * (count - 1)
        self.dense, self.out = _pair(tensors, "head.dense"), _pair(tensors, "head.out")

    def check(self, flat: Flat) -> None:
        """Raises IndexError where the tables lack an entry, or a row has no token: the kernels do not look."""
        if flat.lengths.min() < 1:
            raise IndexError("a row without tokens: let the tokenizer add its special tokens")
        words, _, places, segments = self.tables
        longest = len(places) - (0 if self.shape.padding is None else self.shape.padding + 1)
        for what, value, limit in (
            ("token id", flat.ids.max(), len(words) - 1),
            ("type id", flat.types.max(), len(segments) - 1),
            ("length", flat.lengths.max(), longest),
        ):
            if value > limit:
                raise IndexError(
                    f"{what} {value} is over the model's {limit}: tokenizer and weights do not fit together"
                )

    def logits(self, flat: Flat, team: Team) -> FloatArray:
        """Logits, shape (rows, labels)."""
        ends = np.cumsum(flat.lengths)
        positions = self._positions(flat, ends)
        states = []
        for part in _chunks(flat.lengths, CHUNK_TOKENS * len(team.works)):
            start = ends[part.start] - flat.lengths[part.start]
            tokens = slice(start, ends[part.stop - 1])
            own = (flat.ids[tokens], flat.types[tokens], positions[tokens])
            states.append(self._first_states(own, ends[part.start : part.stop] - start, team))
        logits = np.empty((len(ends), len(self.out[1])), np.float32)
        kernels.classify(np.concatenate(states), self.dense, self.out, logits)
        return logits

    def _positions(self, flat: Flat, ends: Ints) -> Ints:
        begins = np.repeat(ends - flat.lengths, flat.lengths)
        padding = self.shape.padding
        if padding is None:
            return np.arange(len(flat.ids)) - begins
        places: Ints
        real = flat.ids != padding  # padding tokens that a user wrote out do not count
        counted = np.cumsum(real)
        places = (counted - (counted - real)[begins]) * real + padding
        return places

    def _first_states(self, tokens: tuple[Ints, Ints, Ints], ends: Ints, team: Team) -> FloatArray:
        """Last hidden states of each row's first token, shape (rows, hidden)."""
        count, last = len(tokens[0]), self.layers[-1]
        hidden, width = self.tables[0].shape[1], last.inputs.outputs
        longest = int(np.diff(ends, prepend=0).max())
        work, scratch = team.works[0], [self._scratch(count, longest, each) for each in team.works]
        x, context = work.floats("x", count, hidden), work.floats("context", count, width)
        moments = np.empty((count, 2), np.float32)
        kernels.embed(*tokens, *self.tables, self.norm, np.float32(self.shape.epsilon), x, moments)
        heads, rows = team.spans(self.shape.heads), team.spans(count, ROWS)

        def member(own: int, wait: Wait) -> None:
            first, stop = rows[own].start, rows[own].stop
            for layer, known in zip(self.layers[:-1], self.known, strict=False):
                span = (heads[own].start, heads[own].stop)
                kernels.attend(x, (*tokens, moments), known, ends, layer, *span, context, scratch[own])
                wait()
                kernels.rest(x[first:], stop - first, context[first:], layer, scratch[own])
                wait()

        team.run(member)
        first, query, context = (
            work.floats(name, len(ends), size) for name, size in (("first", hidden), ("query", width), ("own", width))
        )
        kernels.first_tokens(x, ends, last, self.turned, first, query, context, scratch[0])
        return first[: len(ends), : len(self.norm[0])].copy()

    def _scratch(self, tokens: int, longest: int, work: Workspace) -> Scratch:
        rows, layer, heads = tokens + ROWS, self.layers[-1], self.shape.heads
        size, wide = layer.inputs.outputs // heads, layer.narrow
        most = max(layer.inputs.inputs, layer.mixed.inputs)
        numbers = TYPES[self.shape.bits]
        return Scratch(
            work.line("q", rows * most).view(numbers),
            work.line("q2", rows * wide.inputs).view(numbers),
            work.line("scales", rows * most),
            work.line("scales2", rows * wide.blocks),
            work.line("block", rows * wide.inputs // wide.blocks),
            work.line("qkv", rows * 3 * size),
            work.line("keys", size * padded(longest)),
            work.line("pairs", (4 * size + ROWS) * padded(longest) // 2 + 4 * ROWS * size).view(np.int16),
            work.line("logits", ROWS * padded(longest)),
        )


def _layer(tensors: Tensors, prefix: str, shape: Shape) -> Layer:
    def read_product(name: str, raised: float = 0.0, spread: bool = False) -> Product:
        weight, scales, bias = (tensors[f"{prefix}{name}.{part}"] for part in ("weight", "scales", "bias"))
        return product(weight, scales, bias, raised=raised, spread=spread)

    inputs, wide = (read_product(name, spread=shape.spread) for name in ("inputs", "wide"))
    mixed, narrow = read_product("mixed"), read_product("narrow", raised=RAISE)
    attention_norm, output_norm = (_pair(tensors, f"{prefix}{name}") for name in ("attention_norm", "output_norm"))
    factor, epsilon = np.float32(shape.size**-0.5), np.float32(shape.epsilon)
    return Layer(inputs, mixed, wide, narrow, attention_norm, output_norm, shape.heads, factor, epsilon)


def _pair(tensors: Tensors, name: str) -> tuple[FloatArray, FloatArray]:
    return tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def shares(lengths: Ints, threads: int) -> list[range]:
    """Neighbouring rows in parts, of which each of the threads takes the next when it has done with one.

    They become smaller towards the end, so that no thread is left alone with a large one.
    """
    ends = np.cumsum(lengths)
    middles, edges, done = ends - lengths / 2, [0], 0
    least = min(LEAST_TOKENS, ends[-1] / threads)
    while edges[-1] < len(lengths):
        size = min(CHUNK_TOKENS, max(least, (ends[-1] - done) / (2 * threads)))
        edges.append(max(edges[-1] + 1, int(np.searchsorted(middles, done + size))))
        done = ends[edges[-1] - 1]
    return [range(*pair) for pair in pairwise(edges)]


def busiest(lengths: Ints, parts: Sequence[range], threads: int) -> int:
    """Tokens of the thread that gets most when each takes the next part as soon as it has the fewest."""
    loads = [0] * threads
    for part in parts:
        loads[loads.index(min(loads))] += int(lengths[part.start : part.stop].sum())
    return max(loads)


def _chunks(lengths: Ints, limit: int) -> Iterator[range]:
    """Neighbouring rows of at most `limit` tokens, or a longer one alone."""
    begin, tokens = 0, 0
    for row, length in enumerate(lengths):
        if row > begin and tokens + length > limit:
            yield range(begin, row)
            begin, tokens = row, 0
        tokens += length
    yield range(begin, len(lengths))
