"""Values as integers: two values get the same code if and only if their string forms are equal."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from training.sampling.columns import blocks

PLAIN = (str, int, float, bool, bytes, type(None), np.integer, np.floating, np.bool_)


def value_key(value: Any) -> str:
    """The string that stands for a value; equal values of any column have equal strings, lists count as a whole.

    Objects whose string holds a memory address (images) are represented by a digest of their content.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, PLAIN):
        return str(value)
    if isinstance(value, (list, tuple)):
        if all(isinstance(item, PLAIN) for item in value):
            return str(value)
        return "[" + ", ".join(map(value_key, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {value_key(item)}" for key, item in value.items()) + "}"
    return _content_key(value)


def _content_key(value: Any) -> str:
    content = getattr(value, "_hf_encoded", None)  # audio and video decoders keep their stored source there
    try:
        return hashlib.sha256(pickle.dumps(value if content is None else content)).hexdigest()
    except Exception:  # whatever a foreign object raises when it cannot be pickled: it is equal to itself only
        return str(value)


def shared_codes(dataset: Any, columns: list[str]) -> NDArray[np.int64]:
    """(rows, columns) codes of the values that more than one row has, numbered from 0; -1 for all others.

    A value that a row repeats in a second column is coded once: a row never conflicts with itself. Values are compared
    by a 64-bit hash; should two of a million collide (odds of one in ten million) a row waits for the next batch.
    """
    hashes = np.empty((len(dataset), len(columns)), dtype=np.uint64)
    if not hashes.size:
        return hashes.astype(np.int64)
    start = 0
    for block in blocks(dataset, columns):
        for column, values in enumerate(block.values()):
            digests = [xxhash.xxh3_64_intdigest(value_key(value).encode("utf-8", "surrogatepass")) for value in values]
            hashes[start : start + len(values), column] = digests
        start += len(values)
    return _number_shared(hashes)


def _number_shared(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    rows, columns = hashes.shape
    _, inverse = np.unique(hashes, return_inverse=True)
    codes = inverse.reshape(rows, columns).astype(np.int64)
    first_in_row = np.ones((rows, columns), dtype=bool)
    for column in range(1, columns):
        first_in_row[:, column] = (codes[:, :column] != codes[:, column : column + 1]).all(axis=1)
    uses = np.bincount(codes[first_in_row])
    number = np.where(uses > 1, np.cumsum(uses > 1) - 1, -1)
    return np.where(first_in_row, number[codes], -1)
