"""Lexical retrieval: BM25 with k1 = 0.9, b = 0.4 (Anserini's defaults) over stemmed words."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from training.retrieval.collection import Collection
from training.retrieval.hits import Hits, no_hits
from training.retrieval.queries import Queries

K1, B = 0.9, 0.4


class Bm25Retriever:
    """An index over texts, held in memory. Documents that share no word with a query are no hits of it."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self._index = bm25s.BM25(method="lucene", k1=K1, b=B)
        self._index.index(self._tokens(texts), show_progress=False)

    @classmethod
    def over(cls, collection: Collection) -> Bm25Retriever:
        """Over a collection with texts."""
        return cls(collection.need("texts", "bm25"))

    def top(self, queries: Queries, k: int) -> Hits:
        """The k best documents of each query."""
        hits = no_hits(len(queries), k)
        for row, tokens in enumerate(self._tokens(queries.texts)):
            scores = self._scores(tokens)
            best = _best(scores, k)
            hits.indices[row, : len(best)], hits.scores[row, : len(best)] = best, scores[best]
        return hits

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of given pairs, 0 where they share no word: shape (pairs,)."""
        found = np.empty(len(query_index), dtype=np.float32)
        asked, position = np.unique(query_index, return_inverse=True)
        order = np.argsort(position, kind="stable")
        groups = np.split(order, np.searchsorted(position[order], np.arange(1, len(asked))))
        for tokens, group in zip(self._tokens([queries.texts[i] for i in asked]), groups, strict=False):
            found[group] = self._scores(tokens)[document_index[group]]
        return found

    def _scores(self, tokens: list[str]) -> NDArray[np.float32]:
        """The score of every document: shape (documents,)."""
        return np.asarray(self._index.get_scores(tokens), dtype=np.float32)

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        tokens = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False
        )
        # bm25s cannot score a query without words; this one is in no text, so every score is 0.
        return [words or ["\x00"] for words in tokens]


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Indices of the k largest scores above 0, equal ones in the order of their indices."""
    found = np.flatnonzero(scores > 0)
    if len(found) > k:
        kth = np.partition(scores[found], len(found) - k)[len(found) - k]
        above, equal = found[scores[found] > kth], found[scores[found] == kth]
        found = np.concatenate([above, equal[: k - len(above)]])
    return found[np.lexsort((found, -scores[found]))]
