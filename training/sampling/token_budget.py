"""Batches of so many tokens instead of so many rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from training.sampling.default import DefaultBatchSampler
from training.sampling.epoch import seeded
from training.sampling.length_bucketed import MEGA_BATCHES
from training.sampling.lengths import checked_lengths

LEVEL_STEP = 1.0625
"""Lengths are rounded up to levels this factor apart: rows of one level can change places."""


class TokenBudgetBatchSampler(DefaultBatchSampler):
    """Fills each batch with rows at random up to `max_tokens`, given the rows' `lengths` in tokens.

    With `padded`, rows count with the length of the longest of their batch, and rows of like length come together
    (as in `LengthBucketedBatchSampler`). `max_rows` limits the rows too. A longer row is a batch by itself.

    The number of batches is the same in every epoch: the batches of the seed are a template of lengths, and an epoch
    fills its places with rows of those lengths (rounded up by at most 1/16) and shuffles the batches. No row is
    dropped; `drop_last` only tells the processes of a distributed run to share the batches evenly. `batch_size` is
    accepted because every sampler gets it, and stands as None on the sampler (batches of any size, for accelerate).
    ValueError without `lengths` or `max_tokens`, or if they do not fit.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = None,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
        lengths: Sequence[int] | None = None,
        max_tokens: int | None = None,
        max_rows: int | None = None,
        padded: bool = False,
    ) -> None:
        super().__init__(dataset, batch_size or 1, drop_last, valid_label_columns, generator, seed)
        self.batch_size = cast("int", None)
        if lengths is None or max_tokens is None:
            raise ValueError("Batches by tokens need `lengths` (tokens of every row) and `max_tokens`")
        if max_tokens < 1 or (max_rows is not None and max_rows < 1):
            raise ValueError(f"max_tokens and max_rows must be positive: {max_tokens}, {max_rows}")
        self.dataset = dataset
        self.max_tokens = max_tokens
        self.max_rows = max_rows
        self.padded = padded
        self._levels = _levels(checked_lengths(lengths, len(dataset)), max_tokens)
        self._places, self._ends = self._template()

    def __iter__(self) -> Iterator[list[int]]:
        generator = seeded(self.generator, self.seed, self.epoch)
        drawn = torch.randperm(len(self._levels), generator=generator).numpy()
        rows = np.empty_like(drawn)
        rows[np.argsort(self._places, kind="stable")] = drawn[np.argsort(self._levels[drawn], kind="stable")]
        batches = np.split(rows, self._ends[:-1])
        for batch in torch.randperm(len(self._ends), generator=generator).tolist():
            yield batches[batch].tolist()

    def __len__(self) -> int:
        return len(self._ends)

    def _template(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The level of every place, batch after batch, and where the batches end."""
        generator = torch.Generator().manual_seed(self.seed or 0)
        places = self._levels[torch.randperm(len(self._levels), generator=generator).numpy()]
        if self.padded:
            mega_batch = np.cumsum(places) // (MEGA_BATCHES * self.max_tokens)
            places = places[np.lexsort((places, mega_batch))]
        return places, _cut(places, self.max_tokens, self.max_rows or len(places), self.padded)


def _levels(lengths: NDArray[np.int64], max_tokens: int) -> NDArray[np.int64]:
    """`lengths` rounded up by at most 1/16; what fits into a batch still does."""
    if not len(lengths):
        return lengths
    steps = [1]
    while steps[-1] < lengths.max():
        steps.append(max(steps[-1] + 1, int(steps[-1] * LEVEL_STEP)))
    levels = np.array(steps)[np.searchsorted(steps, lengths)]
    return np.where(lengths <= max_tokens, np.minimum(levels, max_tokens), levels)


def _cut(places: NDArray[np.int64], max_tokens: int, max_rows: int, padded: bool) -> NDArray[np.int64]:
    """Ends of the batches: each takes the places that follow while they fit."""
    ends: list[int] = []
    rows = total = longest = 0
    for place, tokens in enumerate(places.tolist()):
        longest = max(longest, tokens)
        total += tokens
        rows += 1
        if rows > 1 and ((longest * rows if padded else total) > max_tokens or rows > max_rows):
            ends.append(place)
            rows, total, longest = 1, tokens, tokens
    return np.array([*ends, len(places)] if len(places) else [], dtype=np.int64)
