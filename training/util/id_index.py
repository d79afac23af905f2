"""Row numbers by id, in little memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

WIDEST = 128
"""Bytes of the longest id up to which a table of equally wide ids is smaller than a dictionary."""


class IdIndex:
    """The row of each id; an id that stands twice has its last row.

    Integers and short strings are kept sorted in NumPy arrays, which processes receive as plain bytes, anything else
    in a dictionary.
    """

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self._rows: Any = np.arange(len(ids))
        self._keys: Any = _sortable(ids)
        if self._keys is None:
            self._rows = {key: row for row, key in enumerate(ids.to_pylist())}
            return
        order = np.argsort(self._keys, kind="stable")
        keys = self._keys[order]
        last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, dtype=bool)
        self._keys, self._rows = keys[last], order[last]

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, ids: Sequence[Hashable]) -> list[int]:
        """The row of each id. KeyError with the first id that there is not; TypeError for ids that are not hashable."""
        if self._keys is None:
            return [self._rows[key] for key in ids]
        if not len(ids):
            return []
        expected: type = int if self._keys.dtype.kind == "i" else str
        wrong = next((key for key in ids if type(key) is not expected), None)
        if wrong is not None:
            hash(wrong)
            raise KeyError(wrong)
        wanted = np.array([_encoded(key) for key in ids] if expected is str else ids)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found = self._keys[at] == wanted if len(self._keys) else np.zeros(len(wanted), dtype=bool)
        if not found.all():
            raise KeyError(ids[int(np.argmin(found))])
        rows: list[int] = self._rows[at].tolist()
        return rows


def _sortable(ids: pa.ChunkedArray) -> Any:
    """The ids as an array that NumPy sorts, None if it does not or if that would take more memory."""
    if ids.null_count or not len(ids):
        return None
    if pa.types.is_integer(ids.type) and ids.type != pa.uint64():
        return ids.to_numpy().astype(np.int64)
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        ends_in_zero = pc.any(pc.ends_with(ids, "\0")).as_py()  # NumPy's fixed-width strings would lose it
        if not ends_in_zero and pc.max(pc.binary_length(ids)).as_py() <= WIDEST:
            return np.array([_encoded(key) for key in ids.to_pylist()])
    return None


def _encoded(key: Any) -> bytes:
    return str(key).encode("utf-8", "surrogatepass")
