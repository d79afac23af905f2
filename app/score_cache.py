"""Logits of inputs that were scored before, in bounded memory; the least recently used go first."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from app.model.types import Encoded, FloatArray

Key = bytes

KEY_BYTES = 16
ENTRY_BYTES = 144
"""What an entry costs beside key and value: 75 to 127 in dictionary and allocator, as it turns over."""


class ScoreCache:
    """Logits by key, for any number of models. Safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._logits: OrderedDict[Key, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._logits)

    @property
    def used_bytes(self) -> int:
        """Memory that the entries take."""
        return self._bytes

    def find(self, keys: Iterable[Key]) -> dict[Key, FloatArray]:
        """The logits (labels,) of those keys that are known, which count as used now."""
        found: dict[Key, FloatArray] = {}
        with self._lock:
            for key in keys:
                logits = self._logits.get(key)
                if logits is not None:
                    self._logits.move_to_end(key)
                    found[key] = np.frombuffer(logits, dtype=np.float32)
        return found

    def keep(self, keys: Iterable[Key], logits: FloatArray) -> None:
        """Remembers logits (keys, labels) as far as the memory allows."""
        with self._lock:
            for key, row in zip(keys, logits, strict=True):
                if key not in self._logits:
                    value = row.tobytes()
                    self._bytes += _size(key, value)
                    self._logits[key] = value
            while self._bytes > self._max_bytes:
                self._bytes -= _size(*self._logits.popitem(last=False))


def _size(key: Key, value: bytes) -> int:
    return sys.getsizeof(key) + sys.getsizeof(value) + ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Lookup:
    """One request's inputs: those that are `missing` must be computed, each of them once."""

    missing: list[Encoded]
    _cache: ScoreCache
    _keys: list[Key]
    _found: dict[Key, FloatArray]
    _missing_keys: list[Key]

    def complete(self, computed: FloatArray) -> FloatArray:
        """Logits (inputs, labels) in input order from those of `missing`, which are remembered."""
        self._cache.keep(self._missing_keys, computed)
        known = self._found | dict(zip(self._missing_keys, computed, strict=True))
        return np.stack([known[key] for key in self._keys])


class ModelScores:
    """The cache as one model sees it.

    A key covers the token ids, so whatever changes them (texts, truncation, prompts, limits of the request) makes it
    another one. `identity` must tell the model, and how it is run, from every other that shares the cache.
    """

    def __init__(self, cache: ScoreCache, identity: str, count: Callable[[int, int], None]) -> None:
        """`count` is told each request's hits and misses."""
        self._cache = cache
        self._count = count
        self._start = hashlib.blake2b(identity.encode(), digest_size=KEY_BYTES)

    def look_up(self, rows: Sequence[Encoded]) -> Lookup:
        """What is known of a request's inputs; one that it repeats counts as found."""
        keys = [self._key(row) for row in rows]
        found = self._cache.find(keys)
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        self._count(len(rows) - len(missing), len(missing))
        return Lookup(list(missing.values()), self._cache, keys, found, list(missing))

    def _key(self, row: Encoded) -> Key:
        digest = self._start.copy()
        digest.update(row.split.to_bytes(4, "little"))
        digest.update(row.ids.tobytes())
        return digest.digest()
