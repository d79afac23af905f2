"""Texts on disk, each different one once, as Arrow arrays that are read from the file and not from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Digests = NDArray[np.uint64]
"""Shape (texts, 2)."""
DIGEST_BYTES = 16
ROWS_PER_BLOCK = 1 << 16


def digests_of(texts: Sequence[str]) -> Digests:
    """128 bits that stand for each text."""
    parts = [hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts]
    return np.frombuffer(b"".join(parts), dtype=np.uint64).reshape(-1, 2)


def distinct_digests(digests: Digests) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows at which a digest stands first, in that order, and the index of each row's digest among them."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: of equal ones the first row comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.cumsum(new) - 1
    rows = order[new]
    rank = np.empty(len(rows), dtype=np.int64)
    rank[np.argsort(rows)] = np.arange(len(rows))
    return np.sort(rows), rank[group]


class ColumnWriter:
    """Appends texts to NAME.data and where each ends to NAME.offsets."""

    def __init__(self, directory: Path, name: str) -> None:
        self._data: IO[bytes] = (directory / f"{name}.data").open("wb")
        self._offsets: IO[bytes] = (directory / f"{name}.offsets").open("wb")
        self._offsets.write(np.zeros(1, dtype=np.int64).tobytes())
        self._end = 0

    def add(self, texts: Sequence[str]) -> None:
        encoded = [text.encode() for text in texts]
        ends = self._end + np.cumsum([len(text) for text in encoded], dtype=np.int64)
        self._data.write(b"".join(encoded))
        self._offsets.write(ends.tobytes())
        self._end = int(ends[-1]) if len(ends) else self._end

    def close(self) -> None:
        self._data.close()
        self._offsets.close()


def read_column(directory: Path, name: str) -> pa.Array:
    """One Arrow array of large strings, however long, of which only what is looked at comes into memory."""
    offsets, data = (_mapped(directory / f"{name}.{part}") for part in ("offsets", "data"))
    return pa.LargeStringArray.from_buffers(offsets.size // 8 - 1, offsets, data)


def _mapped(path: Path) -> pa.Buffer:
    if path.stat().st_size == 0:
        return pa.py_buffer(b"")
    return pa.memory_map(str(path)).read_buffer()


class TextWriter:
    """Takes texts and their ids block by block; `finish` finds which are different. 16 bytes of memory per text."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._texts = ColumnWriter(directory, f"{name}.given")
        self._ids = ColumnWriter(directory, f"{name}.ids")
        self._digests: list[Digests] = []

    def add(self, texts: Sequence[str], ids: Sequence[str]) -> None:
        self._texts.add(texts)
        self._ids.add(ids)
        self._digests.append(digests_of(texts))

    def close(self) -> None:
        """Closes the files; `finish` does too."""
        self._texts.close()
        self._ids.close()

    def finish(self) -> None:
        """Writes each different text once, and for `TextStore` which given one is which."""
        self.close()
        digests = np.concatenate([digests_of([]), *self._digests])
        rows, codes = distinct_digests(digests)
        for name, array in (("digests", digests[rows]), ("rows", rows), ("codes", codes)):
            np.save(self._directory / f"{self._name}.{name}.npy", array)
        source, target = f"{self._name}.given", f"{self._name}.texts"
        if len(rows) < len(digests):
            _copy_rows(self._directory, source, target, rows)
        for part in ("data", "offsets"):
            file = self._directory / f"{source}.{part}"
            file.rename(self._directory / f"{target}.{part}") if len(rows) == len(digests) else file.unlink()


class TextStore:
    """What a TextWriter wrote, read from its files when it is looked at.

    `texts` are the different ones in the order of their first rows, `digests` and `rows` theirs; `given_ids` and
    `codes`, the index of the text, are of all rows that were given.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.texts = read_column(directory, f"{name}.texts")
        self.given_ids = read_column(directory, f"{name}.ids")
        self.digests, self.rows, self.codes = (
            np.load(directory / f"{name}.{part}.npy", mmap_mode="r") for part in ("digests", "rows", "codes")
        )

    @property
    def ids(self) -> pa.Array:
        """The id of each text: the first that it was given."""
        return self.given_ids.take(pa.array(self.rows))

    def ambiguous_id(self) -> str | None:
        """An id that two different texts have."""
        ids = self.ids
        if pc.count_distinct(ids).as_py() == len(ids):
            return None
        counts = pc.value_counts(ids)
        return str(counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))])


def _copy_rows(directory: Path, source: str, target: str, rows: NDArray[np.int64]) -> None:
    texts, writer = read_column(directory, source), ColumnWriter(directory, target)
    for start in range(0, len(rows), ROWS_PER_BLOCK):
        writer.add(texts.take(pa.array(rows[start : start + ROWS_PER_BLOCK])).to_pylist())
    writer.close()
