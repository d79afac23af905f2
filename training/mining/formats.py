"""Mined negatives as rows to train or evaluate on, built from indices without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.model.types import FloatArray
from training.mining.pipeline import Mined
from training.mining.positives import IndexArray, Problem, taken

BLOCK_BYTES = 1 << 29
"""Text bytes that one block of rows may reach: Arrow's plain strings hold 2 GiB per array, and lists of them too."""


@dataclass(frozen=True)
class Names:
    """The columns of anchors and positives, and whether scores are wanted."""

    anchor: str
    positive: str
    scores: bool = False


class Column(NamedTuple):
    """Texts by index, or numbers: one per row, or with `lengths` a list of that many per row."""

    values: NDArray[Any]
    texts: Any = None
    lengths: IndexArray | None = None


Columns = dict[str, Column]


def dataset_of(problem: Problem, mined: Mined, output_format: str, names: Names) -> Any:
    """A `datasets.Dataset` in one of FORMATS. ValueError for another format or a column name that stands twice."""
    from datasets import Dataset

    return Dataset(table_of(problem, mined, output_format, names))


def table_of(problem: Problem, mined: Mined, output_format: str, names: Names) -> pa.Table:
    """The rows as an Arrow table.

    "triplet": a row per positive and negative found. "n-tuple": a row per positive of a query that has all its
    negatives, in the columns negative_1 and so on. "labeled-pair": the positives of a query with label 1, then its
    negatives with 0. "labeled-list": a row per positive of a query with negatives: the positive and they in one list.
    """
    require_columns(output_format, names, mined.indices.shape[1])
    columns = FORMATS[output_format](problem, mined, names)
    return pa.concat_tables(_tables(columns))


def require_columns(output_format: str, names: Names, negatives: int) -> None:
    """Raises ValueError for an unknown format or if a column of the format has the name of one of the data."""
    if output_format not in FORMATS:
        known = ", ".join(repr(name) for name in FORMATS)
        raise ValueError(f"Invalid output_format: {output_format!r}. Must be one of {known}.")
    added = {
        "triplet": ["negative", "scores"],
        "n-tuple": [f"negative_{i + 1}" for i in range(negatives)] + ["scores"],
        "labeled-pair": ["label", "score"],
        "labeled-list": ["labels", "scores"],
    }[output_format]
    for name in (names.anchor, names.positive):
        if name in added:
            raise ValueError(
                f"the format {output_format!r} has a column {name!r} of its own: rename that of the dataset"
            )


def _triplets(problem: Problem, mined: Mined, names: Names) -> Columns:
    negatives, scores = _by_pair(problem, mined)
    rows, places = np.nonzero(negatives >= 0)
    columns = _anchors_and_positives(problem, names, rows)
    columns["negative"] = Column(negatives[rows, places], problem.corpus)
    if names.scores:
        both = np.stack([mined.positive_scores[rows], scores[rows, places]], axis=1)
        columns["scores"] = _rectangle(both)
    return columns


def _tuples(problem: Problem, mined: Mined, names: Names) -> Columns:
    negatives, scores = _by_pair(problem, mined)
    rows = np.flatnonzero((negatives >= 0).all(axis=1))
    columns = _anchors_and_positives(problem, names, rows)
    for i in range(negatives.shape[1]):
        columns[f"negative_{i + 1}"] = Column(negatives[rows, i], problem.corpus)
    if names.scores:
        columns["scores"] = _rectangle(np.hstack([mined.positive_scores[rows, None], scores[rows]]))
    return columns


def _labeled_pairs(problem: Problem, mined: Mined, names: Names) -> Columns:
    rows, places = np.nonzero(mined.indices >= 0)
    queries = np.concatenate([problem.positives.queries, rows])
    order = np.argsort(queries, kind="stable")  # the positives of a query stand before its negatives
    documents = np.concatenate([problem.positives.documents, mined.indices[rows, places]])[order]
    columns = {
        names.anchor: Column(queries[order], problem.queries),
        names.positive: Column(documents, problem.corpus),
    }
    if names.scores:
        scores = np.concatenate([mined.positive_scores, mined.scores[rows, places]])[order]
        return {**columns, "score": Column(scores.astype(np.float64))}
    return {**columns, "label": Column((order < len(problem.positives.documents)).astype(np.int64))}


def _labeled_lists(problem: Problem, mined: Mined, names: Names) -> Columns:
    negatives, scores = _by_pair(problem, mined)
    rows = np.flatnonzero((negatives >= 0).any(axis=1))
    documents = np.hstack([problem.positives.documents[rows, None], negatives[rows]])
    there = documents >= 0
    lengths = there.sum(axis=1)
    columns = {
        names.anchor: Column(problem.positives.queries[rows], problem.queries),
        names.positive: Column(documents[there], problem.corpus, lengths),
    }
    if names.scores:
        values = np.hstack([mined.positive_scores[rows, None], scores[rows]])[there]
        return {**columns, "scores": Column(values.astype(np.float64), None, lengths)}
    labels = np.zeros_like(documents)
    labels[:, 0] = 1
    return {**columns, "labels": Column(labels[there], None, lengths)}


FORMATS: dict[str, Callable[[Problem, Mined, Names], Columns]] = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _labeled_pairs,
    "labeled-list": _labeled_lists,
}


def _by_pair(problem: Problem, mined: Mined) -> tuple[IndexArray, FloatArray]:
    """Negatives and scores of each pair's query: shape (pairs, num_negatives)."""
    queries = problem.positives.queries
    return mined.indices[queries], mined.scores[queries]


def _anchors_and_positives(problem: Problem, names: Names, pairs: IndexArray) -> Columns:
    return {
        names.anchor: Column(problem.positives.queries[pairs], problem.queries),
        names.positive: Column(problem.positives.documents[pairs], problem.corpus),
    }


def _rectangle(scores: FloatArray) -> Column:
    lengths = np.full(len(scores), scores.shape[1], dtype=np.int64)
    return Column(scores.astype(np.float64).reshape(-1), None, lengths)


def _tables(columns: Columns) -> Iterator[pa.Table]:
    """The rows in blocks whose texts fit into plain strings."""
    count = len(next(iter(columns.values())).values)
    step = max(1, BLOCK_BYTES // max(1, _row_bytes(columns)))
    for start in range(0, max(count, 1), step):
        rows = slice(start, min(start + step, count))
        yield pa.table({name: _array(column, rows) for name, column in columns.items()})


def _row_bytes(columns: Columns) -> int:
    """No row has more bytes of text in one column."""
    most = 0
    for column in columns.values():
        if column.texts is not None:
            longest = pc.max(pc.binary_length(column.texts)).as_py()
            most = max(most, longest * (1 if column.lengths is None else int(column.lengths.max(initial=1))))
    return most


def _array(column: Column, rows: slice) -> pa.Array:
    if column.lengths is None:
        return _flat(column.values[rows], column.texts)
    ends = np.concatenate([[0], np.cumsum(column.lengths)])
    start, stop = ends[rows.start], ends[rows.stop]
    offsets = (ends[rows.start : rows.stop + 1] - start).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, _flat(column.values[start:stop], column.texts))


def _flat(values: NDArray[Any], texts: Any) -> pa.Array:
    if texts is None:
        return pa.array(values)
    found = taken(texts, values).cast(pa.string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
