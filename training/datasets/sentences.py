"""The oldest dataset: a list of examples with a model beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from training.input_example import InputExample


class SentencesDataset(Dataset[InputExample]):
    """The examples themselves; `model` is taken for old scripts and not needed: a list does as well."""

    def __init__(self, examples: Sequence[InputExample], model: Any = None) -> None:
        self.examples = examples

    def __getitem__(self, item: int) -> InputExample:
        return self.examples[item]

    def __len__(self) -> int:
        return len(self.examples)
