"""Examples in runs of the same label."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from training.input_example import InputExample

logger = logging.getLogger(__name__)


class SentenceLabelDataset(IterableDataset[InputExample]):
    """Draws `samples_per_label` different random examples of one label, then of the next, and so on.

    For losses that need several examples of a label in a batch: let the batch size be a multiple of
    `samples_per_label`. Labels with fewer examples are left out. Without replacement no example comes twice in a
    pass, and a label is skipped once it has too few left; with replacement a pass is as long as the data.
    Draws with NumPy's global random numbers.
    """

    def __init__(
        self, examples: Sequence[InputExample], samples_per_label: int = 2, with_replacement: bool = False
    ) -> None:
        super().__init__()
        self.samples_per_label = samples_per_label
        self.with_replacement = with_replacement
        by_label: dict[Any, list[InputExample]] = {}
        for example in examples:
            by_label.setdefault(example.label, []).append(example)
        self.groups = [group for group in by_label.values() if len(group) >= samples_per_label]
        self.label_range = np.arange(len(self.groups))
        np.random.shuffle(self.label_range)
        logger.info(
            "%d of %d examples are of one of the %d labels that occur at least %d times",
            *(len(self), len(examples), len(self.groups), samples_per_label),
        )

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def __iter__(self) -> Iterator[InputExample]:
        left = [np.arange(len(group)) for group in self.groups]
        drawn = 0
        while drawn < len(self) and any(len(rest) >= self.samples_per_label for rest in left):
            for label in self.label_range:
                if len(left[label]) < self.samples_per_label or drawn >= len(self):
                    continue
                chosen = np.random.choice(left[label], self.samples_per_label, replace=False)
                if not self.with_replacement:
                    left[label] = np.setdiff1d(left[label], chosen)
                drawn += len(chosen)
                yield from (self.groups[label][i] for i in chosen)
            np.random.shuffle(self.label_range)
