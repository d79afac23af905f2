"""Cutting length-sorted inputs into batches under a padded-token budget. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

LEAST = 256
"""Tokens that are worth a core of their own."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one batch: longest x rows <= `max_tokens` (a single longer row goes alone), rows <= `max_rows`.

    `min_fill` keeps padding low: a row shorter than `min_fill` x longest waits for a tighter batch.
    """

    max_tokens: int = 1024
    max_rows: int = 256
    min_fill: float = 0.5

    def rows_at(self, longest: int) -> int:
        """How many rows fit when the longest has `longest` tokens; at least 1."""
        return max(1, min(self.max_rows, self.max_tokens // max(1, longest)))

    def shortest_at(self, longest: int) -> float:
        """The shortest row that may share a batch with one of `longest` tokens."""
        return self.min_fill * longest

    def below(self, padded_tokens: int) -> Budget:
        """The budget to go on with after a batch of `padded_tokens` ran out of memory: half of that batch."""
        return replace(self, max_tokens=max(1, min(self.max_tokens, padded_tokens // 2)))


def cut_batches(lengths: Sequence[int], budget: Budget) -> list[list[int]]:
    """Indices of `lengths` grouped into batches, longest first, ties by index; every index exactly once."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    room, shortest = 0, 0.0
    for index in order:
        if room == 0 or lengths[index] < shortest:
            batches.append([])
            room = budget.rows_at(lengths[index])
            shortest = budget.shortest_at(lengths[index])
        batches[-1].append(index)
        room -= 1
    return batches
