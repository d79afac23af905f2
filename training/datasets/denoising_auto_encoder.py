"""Sentences with words deleted, and the sentences themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import Dataset

from training.input_example import InputExample

WORD_OR_MARK = re.compile(r"(\s*)(\w+|[^\w\s])")


class DenoisingAutoEncoderDataset(Dataset[InputExample]):
    """Examples of two texts, `noise_fn(sentence)` and the sentence; by default `delete` makes the noise."""

    def __init__(self, sentences: Sequence[str], noise_fn: Callable[[str], str] | None = None) -> None:
        self.sentences = sentences
        self.noise_fn = self.delete if noise_fn is None else noise_fn

    def __getitem__(self, item: int) -> InputExample:
        sentence = self.sentences[item]
        return InputExample(texts=[self.noise_fn(sentence), sentence])

    def __len__(self) -> int:
        return len(self.sentences)

    @staticmethod
    def delete(text: str, del_ratio: float = 0.6) -> str:
        """The text without a random `del_ratio` of its words and punctuation marks; at least one stays.

        The text that stays is spaced as it was. Draws with NumPy's global random numbers.
        """
        words = WORD_OR_MARK.findall(text)
        if not words:
            return text
        keep = np.random.rand(len(words)) > del_ratio
        if not keep.any():
            keep[np.random.choice(len(words))] = True
        return "".join(space + word for (space, word), kept in zip(words, keep, strict=True) if kept).strip()
