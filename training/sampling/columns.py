"""Reads the columns of a dataset in blocks: raw Arrow values where that is possible, else what the dataset gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

BLOCK_ROWS = 10_000
"""Rows held as Python values at a time."""

DECODED = ("Image", "Audio", "Video", "Pdf", "Nifti")
"""Features whose stored bytes are not their value."""

ADDED = {"dataset_name"}
"""Columns that a trainer adds to a dataset; they say nothing about the row."""


def input_columns(dataset: Any, label_columns: Sequence[str] | None) -> list[str]:
    """Columns that are neither labels nor added by a trainer."""
    return [name for name in dataset.column_names if name not in ADDED and name not in (label_columns or ())]


def blocks(dataset: Any, columns: list[str]) -> Iterator[dict[str, list[Any]]]:
    """The values of `columns`, `BLOCK_ROWS` rows at a time."""
    raw = _is_raw(dataset, columns)
    source = dataset.select_columns(columns).with_format("arrow") if raw else dataset
    for start in range(0, len(dataset), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(dataset))
        if raw:
            yield source[start:stop].to_pydict()
        elif hasattr(source, "select_columns"):
            block = source[start:stop]
            yield {name: list(block[name]) for name in columns}
        else:
            rows = [source[index] for index in range(start, stop)]
            yield {name: [row[name] for row in rows] for name in columns}


def _is_raw(dataset: Any, columns: list[str]) -> bool:
    """Whether the Arrow table holds what indexing gives: no transform of the user, nothing to decode."""
    features = getattr(dataset, "features", None)
    if features is None or not hasattr(dataset, "with_format") or dataset.format["type"] == "custom":
        return False
    return not any(kind in repr(features.get(name)) for name in columns for kind in DECODED)
