"""Several retrievers as one, by reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.retrieval import Retriever
from training.retrieval.hits import Hits, best_first, no_hits
from training.retrieval.queries import Queries

K = 60
ROWS = 1024
"""Queries that are fused at a time."""


def fuse(lists: Sequence[Hits], k: int, constant: float = K) -> Hits:
    """The k best documents of each query by the sum of 1 / (constant + rank) over the lists, ranks from 1.

    A list that lacks a document adds nothing (Cormack, Clarke and Büttcher, SIGIR 2009, whose constant is 60).
    """
    hits = no_hits(len(lists[0].indices), k)
    for start in range(0, len(hits.indices), ROWS):
        rows = slice(start, start + ROWS)
        hits.indices[rows], hits.scores[rows] = _fuse([one.indices[rows] for one in lists], k, constant)
    return hits


def _fuse(lists: Sequence[NDArray[np.int64]], k: int, constant: float) -> Hits:
    documents = np.concatenate(lists, axis=1)
    shares = np.concatenate([np.broadcast_to(_shares(one, constant), one.shape) for one in lists], axis=1)
    order = np.argsort(documents, axis=1, kind="stable")
    documents, shares = np.take_along_axis(documents, order, 1), np.take_along_axis(shares, order, 1)
    first = np.ones(documents.shape, dtype=np.bool_)  # of the places that a document takes
    first[:, 1:] = documents[:, 1:] != documents[:, :-1]
    scores = np.full(documents.shape, -np.inf, dtype=np.float32)
    scores[first] = np.add.reduceat(shares.ravel(), np.flatnonzero(first))
    kept = first & (documents >= 0)
    return best_first(np.where(kept, documents, -1), np.where(kept, scores, -np.inf).astype(np.float32), k)


def _shares(indices: NDArray[np.int64], constant: float) -> NDArray[np.float64]:
    return 1.0 / (constant + np.arange(1, indices.shape[1] + 1))


class FusedRetriever:
    """Reciprocal rank fusion of the first `depth` documents (at least as many as asked for) of each retriever.

    The score of a pair is NaN where no retriever has the document among those. Raises DataError without retrievers.
    """

    def __init__(self, retrievers: Sequence[Retriever], k: float = K, depth: int = 0) -> None:
        if not retrievers:
            raise DataError("fusion: no retrievers; give at least one")
        self._retrievers, self._constant, self._depth = retrievers, k, depth
        self._last: tuple[Queries, list[Hits]] | None = None

    def top(self, queries: Queries, k: int) -> Hits:
        """The k best documents of each query."""
        return fuse(self._lists(queries, max(k, self._depth)), k, self._constant)

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of given pairs, from the lists that `top` read last for these queries: shape (pairs,)."""
        same = self._last is not None and self._last[0] is queries
        lists = self._last[1] if self._last and same else self._lists(queries, max(1, self._depth))
        scores, known = np.zeros(len(query_index)), np.zeros(len(query_index), dtype=np.bool_)
        for start in range(0, len(scores), ROWS):
            part = slice(start, start + ROWS)
            for one in lists:
                match = one.indices[query_index[part]] == document_index[part, None]
                found = match.any(axis=1)
                scores[part] += np.where(found, 1.0 / (self._constant + 1 + match.argmax(axis=1)), 0.0)
                known[part] |= found
        return np.where(known, scores, np.nan).astype(np.float32)

    def _lists(self, queries: Queries, depth: int) -> list[Hits]:
        lists = [retriever.top(queries, depth) for retriever in self._retrievers]
        self._last = queries, lists
        return lists
