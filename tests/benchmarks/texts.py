"""Deterministic synthetic requests: words of the model's own vocabulary, lognormal lengths."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

QUERY_WORDS = 7
MEAN_LOG_WORDS, SPREAD_LOG_WORDS = 4.2, 0.5
"""With the query and the special tokens: about 85 tokens per pair in the mean, 160 at the 95th percentile."""
FEWEST_WORDS, MOST_WORDS = 8, 400


@dataclass(frozen=True, slots=True)
class Request:
    """One query and its documents."""

    query: str
    documents: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What the engine scores."""
        return [(self.query, document) for document in self.documents]

    @property
    def body(self) -> str:
        """What is sent to /rerank."""
        return json.dumps({"query": self.query, "documents": self.documents})


class TextSource:
    """Draws texts; the same seed gives the same ones."""

    def __init__(self, tokenizer_file: Path, seed: int = 0) -> None:
        self._words = _words(tokenizer_file)
        self._rng = np.random.default_rng(seed)

    def requests(self, count: int, documents: int) -> list[Request]:
        """`count` requests of `documents` documents each, all texts different."""
        return [self._request(documents) for _ in range(count)]

    def pairs_of(self, words: int, count: int) -> list[tuple[str, str]]:
        """`count` pairs of documents of exactly `words` words."""
        return [(self._text(QUERY_WORDS), self._text(words)) for _ in range(count)]

    def _request(self, documents: int) -> Request:
        lengths = self._rng.lognormal(MEAN_LOG_WORDS, SPREAD_LOG_WORDS, documents)
        texts = [self._text(int(length)) for length in np.clip(lengths, FEWEST_WORDS, MOST_WORDS)]
        return Request(self._text(QUERY_WORDS), tuple(texts))

    def _text(self, words: int) -> str:
        return " ".join(self._rng.choice(self._words, words))


def _words(tokenizer_file: Path) -> list[str]:
    """Whole lower-case words that are one token each, so that a text's length in tokens is known."""
    vocabulary = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha() and word.islower())
