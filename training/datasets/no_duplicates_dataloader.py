"""Batches in which no text occurs twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from training.input_example import InputExample


class NoDuplicatesDataLoader:
    """Shuffled batches of examples that share no text, upper or lower case (for in-batch negatives).

    Shuffles with Python's `random`, again whenever all examples were looked at. `len()` is the number of full
    batches. When the data cannot fill a batch with different texts, the batch is shorter.
    """

    def __init__(self, train_examples: Sequence[InputExample], batch_size: int) -> None:
        self.batch_size = batch_size
        self.data_pointer = 0
        self.collate_fn: Callable[[list[InputExample]], Any] | None = None
        self.train_examples = list(train_examples)
        random.shuffle(self.train_examples)

    def __iter__(self) -> Iterator[Any]:
        for _ in range(len(self)):
            batch = self._batch()
            yield batch if self.collate_fn is None else self.collate_fn(batch)

    def __len__(self) -> int:
        return len(self.train_examples) // self.batch_size

    def _batch(self) -> list[InputExample]:
        batch: list[InputExample] = []
        taken: set[str] = set()
        refused_in_a_row = 0
        most = 2 * len(self.train_examples) - 1  # every one is among so many, whatever the new order
        while len(batch) < self.batch_size and refused_in_a_row < most:
            example = self._next()
            texts = {str(text).strip().lower() for text in example.texts or ()}
            if texts.isdisjoint(taken):
                batch.append(example)
                taken |= texts
                refused_in_a_row = 0
            else:
                refused_in_a_row += 1
        return batch

    def _next(self) -> InputExample:
        example = self.train_examples[self.data_pointer]
        self.data_pointer += 1
        if self.data_pointer >= len(self.train_examples):
            self.data_pointer = 0
            random.shuffle(self.train_examples)
        return example
