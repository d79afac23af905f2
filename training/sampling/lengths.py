"""How long the rows of a dataset are, in characters: enough to group rows of like length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.sampling.columns import blocks, input_columns


def text_lengths(dataset: Any, label_columns: Sequence[str] | None = None) -> NDArray[np.int64]:
    """(rows,) characters of all texts of each row, lists of texts included, label columns left out."""
    columns = input_columns(dataset, label_columns)
    lengths: list[int] = []
    for block in blocks(dataset, columns) if columns else ():
        parts = [[_characters(value) for value in values] for values in block.values()]
        lengths += map(sum, zip(*parts, strict=True))
    return np.array(lengths or [0] * len(dataset), dtype=np.int64)


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(map(_characters, value)) if isinstance(value, (list, tuple)) else 0


def checked_lengths(lengths: Any, rows: int) -> NDArray[np.int64]:
    """`lengths` as an array; ValueError unless there is one for every row and none is negative."""
    array = np.asarray(lengths, dtype=np.int64)
    if array.shape != (rows,):
        raise ValueError(f"{rows} rows need as many lengths, not an array of shape {array.shape}")
    if (array < 0).any():
        raise ValueError(f"Row {int(array.argmin())} has a negative length: {int(array.min())}")
    return array
