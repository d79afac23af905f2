"""Exact search over embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from training.retrieval.collection import Collection
from training.retrieval.exact import exact_top_k
from training.retrieval.hits import Hits
from training.retrieval.matrix import Rows, pair_products
from training.retrieval.queries import Queries

if TYPE_CHECKING:
    from training.retrieval.collection import Encode, Matrix


class QueryEncoder:
    """Encodes queries, and remembers the last ones: `top` and `pair_scores` are asked with the same."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._last: tuple[Queries, Matrix] | None = None

    def __call__(self, queries: Queries) -> Matrix:
        if self._last is None or self._last[0] is not queries:
            self._last = queries, self._encode(queries.texts)
        return self._last[1]


class DenseRetriever:
    """Dot products of query embeddings with all rows of `corpus`; with `cosine`, cosines.

    `corpus` is an array, a memory-mapped file or a tensor of shape (documents, dimensions); `encode` gives the same
    for the texts of queries. `top` and `pair_scores` give a pair the same score to the last bit. Tiles are explained
    at `exact_top_k`, which raises DataError for matrices that do not fit together.
    """

    def __init__(
        self,
        encode: Encode,
        corpus: Matrix,
        *,
        device: torch.device | str | None = None,
        cosine: bool = False,
        tile: tuple[int, int] | None = None,
        progress: bool = False,
    ) -> None:
        self._queries, self._corpus = QueryEncoder(encode), corpus
        self._device, self._cosine, self._tile, self._progress = device, cosine, tile, progress

    @classmethod
    def over(
        cls,
        collection: Collection,
        *,
        device: str | None = None,
        cosine: bool = False,
        tile: tuple[int, int] | None = None,
        progress: bool = False,
    ) -> DenseRetriever:
        """Over a collection with embeddings and an encoder."""
        encode, corpus = collection.need("encode", "dense"), collection.need("embeddings", "dense")
        return cls(encode, corpus, device=device, cosine=cosine, tile=tile, progress=progress)

    def top(self, queries: Queries, k: int) -> Hits:
        """The k best documents of each query."""
        return exact_top_k(
            self._queries(queries),
            self._corpus,
            k,
            device=self._device,
            cosine=self._cosine,
            tile=self._tile,
            progress=self._progress,
        )

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of given pairs: shape (pairs,)."""
        asked, searched = Rows(self._queries(queries), "query"), Rows(self._corpus, "corpus")
        return pair_products(asked, searched, query_index, document_index, self._cosine)
