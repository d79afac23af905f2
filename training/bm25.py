"""Lexical retrieval: BM25 with k1 = 0.9, b = 0.4 (Anserini's defaults) over stemmed words."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

K1, B = 0.9, 0.4


class Bm25:
    """An index over texts, addressed by their position."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self._size = len(texts)
        self._index = bm25s.BM25(method="lucene", k1=K1, b=B)
        self._index.index(self._tokens(texts), show_progress=False)

    def top(self, queries: Sequence[str], depth: int) -> NDArray[np.int64]:
        """Positions of the best texts per query, best first: shape (queries, min(depth, texts))."""
        depth = min(depth, self._size)
        found, _ = self._index.retrieve(self._tokens(queries), k=depth, show_progress=False)
        return np.asarray(found, dtype=np.int64)

    def scores(self, query: str) -> NDArray[np.float32]:
        """The score of every text for one query: shape (texts,)."""
        (tokens,) = self._tokens([query])
        return np.asarray(self._index.get_scores(tokens), dtype=np.float32)

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        tokens = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False
        )
        # bm25s cannot score a query without words; this one is in no text, so every score is 0.
        return [words or ["\x00"] for words in tokens]
