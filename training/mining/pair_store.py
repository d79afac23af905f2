"""Scores of pairs on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.model.types import FloatArray

RECORD = np.dtype([("key", "V16"), ("score", "<f4"), ("check", "<u4")])
Keys = NDArray[np.void]


class PairStore:
    """An append-only file of records (digest of model and pair, score, checksum); any number of models share one.

    What an interruption left half written at the end is cut off when the file is opened.
    """

    def __init__(self, path: Path, model: str) -> None:
        """Opens or creates the file for the scores of the model with the digest `model`."""
        self._path = path
        self._model = model.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        records = _whole(path)
        order = np.argsort(_sortable(records["key"]), kind="stable")
        self._keys = _sortable(records["key"])[order]
        self._scores = records["score"][order].astype(np.float32)

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self, pairs: Sequence[tuple[str, str]]) -> Keys:
        """What the pairs are stored under: shape (pairs,)."""
        return np.array([self._key(query, document) for query, document in pairs], dtype=RECORD["key"])

    def known(self, keys: Keys) -> FloatArray:
        """Stored scores: shape (keys,), NaN where there is none."""
        if not len(self._keys):
            return np.full(len(keys), np.nan, dtype=np.float32)
        wanted = _sortable(keys)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[at] == wanted, self._scores[at], np.float32(np.nan)).astype(np.float32)

    def add(self, keys: Keys, scores: FloatArray) -> None:
        """Appends the scores to the file; they are found there by the next one that opens it."""
        records = np.empty(len(keys), dtype=RECORD)
        records["key"], records["score"] = keys, scores
        records["check"] = _checks(records)
        with self._path.open("ab") as file:
            file.write(records.tobytes())

    def _key(self, query: str, document: str) -> bytes:
        texts = query.encode("utf-8", "surrogatepass"), document.encode("utf-8", "surrogatepass")
        head = self._model + len(texts[0]).to_bytes(8, "little")
        return hashlib.blake2b(head + texts[0] + texts[1], digest_size=16).digest()


def _whole(path: Path) -> NDArray[np.void]:
    """The records up to the first one that is torn; what follows it is cut off."""
    content = path.read_bytes()
    count = len(content) // RECORD.itemsize
    records = np.frombuffer(content, dtype=RECORD, count=count)
    wrong = np.flatnonzero(_checks(records) != records["check"])
    good = int(wrong[0]) if len(wrong) else count
    if good * RECORD.itemsize < len(content):
        with path.open("r+b") as file:
            file.truncate(good * RECORD.itemsize)
    return records[:good]


def _checks(records: NDArray[np.void]) -> NDArray[np.uint32]:
    width = RECORD.itemsize - RECORD["check"].itemsize
    content = records.tobytes()
    starts = range(0, len(content), RECORD.itemsize)
    return np.array([zlib.crc32(content[start : start + width]) for start in starts], dtype=np.uint32)


def _sortable(keys: NDArray[np.void]) -> NDArray[np.bytes_]:
    """The same bytes as fixed-width strings, which NumPy compares."""
    return np.ascontiguousarray(keys).view("S16")
