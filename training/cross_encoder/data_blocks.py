"""The rows of a dataset as Arrow tables, with the number that each row has in the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BLOCK_ROWS = 10_000
Numbers = Sequence[int] | NDArray[np.int64]
Block = tuple[pa.Table, Numbers]
"""Rows, and the number of each."""


def stored_blocks(dataset: Any) -> Iterator[Block]:
    """All rows of `dataset` as they are stored, whatever format it has.

    Where rows were selected they come in the order in which they are stored: fetched one by one in the dataset's own
    order, ten million of them take minutes instead of seconds.
    """
    if getattr(dataset, "_indices", None) is not None:
        yield from selected_blocks(dataset)
        return
    source = dataset.with_format("arrow", columns=seen_columns(dataset))
    for start in range(0, len(dataset), BLOCK_ROWS):
        block = source[start : start + BLOCK_ROWS]
        yield block, range(start, start + block.num_rows)


def selected_blocks(dataset: Any) -> Iterator[Block]:
    """The rows that a selection or shuffle of `dataset` kept, in the order in which they are stored."""
    stored = dataset.data.table.select(seen_columns(dataset))
    places = dataset._indices.column(0).to_numpy()
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    bounds = np.searchsorted(ordered, np.arange(0, stored.num_rows + BLOCK_ROWS, BLOCK_ROWS))
    for i, (first, last) in enumerate(pairwise(bounds)):
        if first == last:
            continue
        start = i * BLOCK_ROWS
        block = stored.slice(start, BLOCK_ROWS).combine_chunks()
        yield block.take(pa.array(ordered[first:last] - start)), order[first:last]


def is_transformed(dataset: Any) -> bool:
    """Whether a function of the user's makes each row when it is asked for."""
    return bool(dataset.format["type"] == "custom")


def seen_columns(dataset: Any) -> list[str]:
    """The columns that rows of `dataset` have, in order: a format may leave some out."""
    form = dataset.format
    if form["output_all_columns"] or form["columns"] is None:
        return list(dataset.column_names)
    shown = set(form["columns"])
    return [name for name in dataset.column_names if name in shown]


def to_table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> pa.Table:
    """These columns of rows as an Arrow table. Raises ArrowInvalid or ArrowTypeError where the rows differ in kind."""
    return pa.table({name: pa.array([plain(row[name]) for row in rows]) for name in columns})


def plain(value: Any) -> Any:
    """Tensors and NumPy values as numbers and lists."""
    return value.tolist() if hasattr(value, "tolist") else value
