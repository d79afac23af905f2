"""Where each row lies among the tokens of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Group(NamedTuple):
    """`rows` neighbouring rows of equal `length`: tokens `start` to `end` of the chunk."""

    start: int
    end: int
    rows: int
    length: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of one chunk laid end to end. Its tensors lie on the device of the pass."""

    ids: Tensor
    """Token ids, int64, shape (width,); zeros behind the last row."""
    types: Tensor
    """Token type ids, shape (width,)."""
    positions: Tensor
    """Place of each token in its row, from 0, shape (width,)."""
    owner: Tensor
    """Index of each token's row, shape (width,); the number of first tokens behind the last row."""
    ends: Tensor
    """0, then where each row ends, int32, shape (first tokens + 1,); rows of no tokens fill up a rounded number."""
    tokens: int
    """Tokens of the rows; what lies behind them up to the width is filling."""
    longest: int
    """No row is longer."""
    lengths: tuple[int, ...] = ()
    """Tokens of each row, where the host knows them."""
    groups: tuple[Group, ...] = ()
    """The rows by length, where the host knows them."""

    @property
    def width(self) -> int:
        """Tokens with the filling."""
        return len(self.ids)

    @property
    def first(self) -> Tensor:
        """Index of each row's first token, shape (first tokens,); any token where a row has none."""
        return self.ends[:-1].long().clamp_(max=self.width - 1)

    @property
    def counts(self) -> Tensor:
        """Tokens of each row, shape (first tokens,); 1 where a row has none."""
        return self.ends.diff().clamp_(min=1)


class Multiples(NamedTuple):
    """To what the numbers of tokens and of first tokens are rounded up."""

    tokens: int = 1
    rows: int = 1


def lay_out(
    ids: NDArray[np.int64],
    types: NDArray[np.int64],
    lengths: Sequence[int],
    *,
    multiples: Multiples,
    device: torch.device,
) -> Layout:
    """The layout of rows with these `lengths`, of which equal ones should be neighbours.

    `ids` and `types`: shape (tokens,), the rows end to end.
    """
    width, rows = _round_up(len(ids), multiples.tokens), _round_up(len(lengths), multiples.rows)
    ends = np.full(rows + 1, len(ids), dtype=np.int32)
    ends[0] = 0
    np.cumsum(lengths, out=ends[1 : len(lengths) + 1])
    filled = (np.pad(column, (0, width - len(ids))) for column in (ids, types))
    columns = [torch.from_numpy(array).to(device) for array in (*filled, ends)]
    positions, owner = places(columns[2], width)
    return Layout(
        *(columns[0], columns[1], positions, owner, columns[2]),
        tokens=len(ids),
        longest=max(lengths),
        lengths=tuple(lengths),
        groups=groups_of(lengths),
    )


def places(ends: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """`Layout.positions` and `Layout.owner`, worked out on the device of `ends` and without waiting for it."""
    place = torch.arange(width, dtype=torch.int32, device=ends.device)
    owner = torch.searchsorted(ends[1:], place, right=True)
    positions = (place - ends[owner]) * (owner < len(ends) - 1)
    return positions.long(), owner


def groups_of(lengths: Sequence[int]) -> tuple[Group, ...]:
    """Neighbouring rows of equal length, taken together."""
    groups, start = [], 0
    for length, same in groupby(lengths):
        rows = len(list(same))
        groups.append(Group(start, start + rows * length, rows, length))
        start += rows * length
    return tuple(groups)


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
