"""The few shapes to which packed batches are filled up, so that a CUDA graph of one serves many batches. Pure."""

from __future__ import annotations

from typing import NamedTuple

LARGEST_TOKENS = 8192
"""Above that a GPU computes for longer than the host takes to launch the kernels: a graph saves nothing."""
STEP_TOKENS = 64
STEPS_PER_DOUBLING = 4
SHORTEST = 16


class Bucket(NamedTuple):
    """Shape of a packed batch: tokens in all, rows, and an upper limit on the tokens of a row."""

    tokens: int
    rows: int
    longest: int


def bucket_of(tokens: int, rows: int, longest: int) -> Bucket | None:
    """The smallest bucket that holds such a batch with its filling; None for one that is too large for a graph.

    Tokens cost time, so they come in steps of an eighth to a quarter, or of 64. Rows and lengths that are not there
    cost next to nothing and come in powers of two.
    """
    if tokens > LARGEST_TOKENS:
        return None
    width = _stepped(tokens)
    filling = -(-(width - tokens) // longest)
    return Bucket(width, _power_of_two(rows + filling), max(SHORTEST, _power_of_two(longest)))


def _stepped(tokens: int) -> int:
    below = 1 << (tokens - 1).bit_length() - 1 if tokens > 1 else 1
    step = max(STEP_TOKENS, below // STEPS_PER_DOUBLING)
    return -(-tokens // step) * step


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
