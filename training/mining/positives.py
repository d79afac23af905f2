"""What is mined from: each different query once, each different document once, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]
Texts: TypeAlias = "pa.Array | pa.ChunkedArray"


@dataclass(frozen=True, eq=False)
class Positives:
    """Documents of each query in compressed rows: those of query i are `documents[offsets[i]:offsets[i + 1]]`.

    Pairs are grouped by query, in the order in which queries and, within a query, documents first appear.
    """

    offsets: IndexArray
    documents: IndexArray

    @property
    def counts(self) -> IndexArray:
        """Positives of each query: shape (queries,)."""
        return np.diff(self.offsets)

    @property
    def queries(self) -> IndexArray:
        """The query of each pair: shape (pairs,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)


@dataclass(frozen=True, eq=False)
class Problem:
    """Different queries and documents as Arrow arrays of large strings, and the positives of each query.

    `max_positives` is the largest number of rows that one query had, repeated rows included. `query_rows` and
    `corpus_rows` say in which row of what was given a text stood first; rows of documents count through the given
    corpus and go on through the positives. `query_ids` are needed by precomputed runs only.
    """

    queries: Texts
    corpus: Texts
    positives: Positives
    max_positives: int
    query_rows: IndexArray
    corpus_rows: IndexArray
    query_ids: Sequence[str] | None = None


def problem_from_pairs(anchors: Texts, positives: Texts, corpus: Texts | None = None) -> Problem:
    """The problem of a table with one positive per row; a query in several rows has several positives.

    Documents are those of `corpus`, then the positives that it does not hold. Equal texts count as one document,
    so that a copy of a positive is never a negative. Texts must not be null.
    """
    queries, query_codes, query_rows = distinct(anchors)
    given = positives if corpus is None else pa.chunked_array([*chunks_of(corpus), *chunks_of(positives)])
    documents, codes, corpus_rows = distinct(given)
    pairs = positives_of(query_codes, codes[-len(positives) :], len(queries), len(documents))
    most = int(np.bincount(query_codes).max())
    return Problem(queries, documents, pairs, most, query_rows, corpus_rows)


def distinct(texts: Texts) -> tuple[Texts, IndexArray, IndexArray]:
    """Different texts in order of first appearance, each row's index among them, and the row of each one's first."""
    encoded = pa.chunked_array(chunks_of(texts), type=pa.large_string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    _, first = np.unique(codes, return_index=True)
    return encoded.dictionary, codes, first.astype(np.int64)


def positives_of(queries: IndexArray, documents: IndexArray, query_count: int, corpus_size: int) -> Positives:
    """Compressed rows of the pairs (queries[i], documents[i]), each different pair once."""
    _, first = np.unique(queries * corpus_size + documents, return_index=True)
    order = first[np.lexsort((first, queries[first]))]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(queries[order], minlength=query_count))])
    return Positives(offsets.astype(np.int64), documents[order])


def taken(texts: Texts, rows: Any) -> Texts:
    """The texts of those rows, still in Arrow memory."""
    return pc.take(texts, pa.array(np.asarray(rows, dtype=np.int64)))


def chunks_of(texts: Texts) -> list[pa.Array]:
    """The pieces that the texts are stored in, as large strings."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return [chunk.cast(pa.large_string()) for chunk in chunks]
