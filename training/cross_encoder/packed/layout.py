"""Where each row lies among the tokens of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.model.types import Encoded
from training.cross_encoder.encoding import row_types


class Group(NamedTuple):
    """`rows` neighbouring rows of equal `length`: tokens `start` to `end` of the chunk."""

    start: int
    end: int
    rows: int
    length: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of one chunk laid end to end."""

    ids: Tensor
    """Token ids, int64, shape (width,); zeros behind the last row."""
    types: Tensor
    """Token type ids, shape (width,)."""
    positions: Tensor
    """Place of each token in its row, from 0, shape (width,)."""
    first: Tensor
    """Index of each row's first token, shape (rows,); zeros behind where the pass wants a rounded number of rows."""
    lengths: tuple[int, ...]
    """Tokens of each row."""
    groups: tuple[Group, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the rows; what lies behind them up to the width is filling."""
        return sum(self.lengths)

    @property
    def width(self) -> int:
        """Tokens with the filling."""
        return len(self.ids)


class Multiples(NamedTuple):
    """To what the numbers of tokens and of first tokens are rounded up."""

    tokens: int = 1
    rows: int = 1


def lay_out(rows: Sequence[Encoded], *, segments: bool, multiples: Multiples, device: torch.device) -> Layout:
    """The layout of `rows`, of which those of equal length should be neighbours."""
    lengths = tuple(map(len, rows))
    ends = np.cumsum(lengths)
    width = _round_up(int(ends[-1]), multiples.tokens)
    first = np.zeros(_round_up(len(rows), multiples.rows), dtype=np.int64)
    first[: len(rows)] = ends - lengths
    ids, types, positions = (np.zeros(width, dtype=np.int64) for _ in range(3))
    for row, end in zip(rows, ends, strict=True):
        start = end - len(row)
        ids[start:end] = row.ids
        positions[start:end] = np.arange(len(row))
        if segments:
            types[start:end] = row_types(row)
    columns = [torch.from_numpy(array).to(device) for array in (ids, types, positions, first)]
    return Layout(columns[0], columns[1], columns[2], columns[3], lengths, _groups(lengths))


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _groups(lengths: Sequence[int]) -> tuple[Group, ...]:
    groups, start = [], 0
    for length, same in groupby(lengths):
        rows = len(list(same))
        groups.append(Group(start, start + rows * length, rows, length))
        start += rows * length
    return tuple(groups)


def cut_chunks(lengths: Sequence[int], budget: int) -> list[range]:
    """Neighbouring rows in chunks of at most `budget` tokens each; a longer row goes alone."""
    chunks, start, total = [], 0, 0
    for index, length in enumerate(lengths):
        if index > start and total + length > budget:
            chunks.append(range(start, index))
            start, total = index, 0
        total += length
    return [*chunks, range(start, len(lengths))] if lengths else []
