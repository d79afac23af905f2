"""Rows of like length together, and still a different batch every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from training.sampling.default import DefaultBatchSampler
from training.sampling.epoch import seeded
from training.sampling.lengths import checked_lengths, text_lengths

MEGA_BATCHES = 50
"""Batches that are drawn at random before they are sorted: enough for little padding, few enough to stay mixed."""


class LengthBucketedBatchSampler(DefaultBatchSampler):
    """Shuffles the rows, sorts `mega_batches` batches of them at a time by length, then shuffles the batches.

    `lengths` has one number per row, in any unit; by default it is counted in characters on first use. The rows of an
    incomplete batch are drawn before the sorting, so that `drop_last` drops rows of any length, and they come last.
    ValueError if `lengths` do not fit the dataset.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
        lengths: Sequence[int] | None = None,
        mega_batches: int = MEGA_BATCHES,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        if mega_batches < 1:
            raise ValueError(f"mega_batches must be at least 1: {mega_batches}")
        self.dataset = dataset
        self.mega_batches = mega_batches
        self._lengths = None if lengths is None else checked_lengths(lengths, len(dataset))

    def __iter__(self) -> Iterator[list[int]]:
        if self._lengths is None:
            self._lengths = text_lengths(self.dataset, self.valid_label_columns)
        generator = seeded(self.generator, self.seed, self.epoch)
        order = torch.randperm(len(self._lengths), generator=generator).numpy()
        full = len(order) // self.batch_size
        drawn, rest = np.split(order, [full * self.batch_size])
        mega_batch = np.arange(len(drawn)) // (self.mega_batches * self.batch_size)
        rows = drawn[np.lexsort((self._lengths[drawn], mega_batch))].reshape(full, self.batch_size)
        for batch in torch.randperm(full, generator=generator).tolist():
            yield rows[batch].tolist()
        if len(rest) and not self.drop_last:
            yield rest.tolist()

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)
