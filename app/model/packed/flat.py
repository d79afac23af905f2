"""The rows of a padded batch laid end to end, for the host. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.model.packed.buckets import Bucket
from app.model.types import Batch

Ints = NDArray[np.int64]


class Flat(NamedTuple):
    """Token ids and type ids, each of shape (tokens,), and the tokens of each row, shape (rows,)."""

    ids: Ints
    types: Ints
    lengths: Ints


def flatten(batch: Batch, *, segments: bool) -> tuple[Flat, Ints]:
    """The tokens that the attention mask shows, the longest row first, and where in the batch each row stood.

    Rows of equal length become neighbours. On whichever side a row is padded, it begins at position 0.
    """
    mask = batch["attention_mask"] != 0
    lengths = mask.sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    if (order[1:] > order[:-1]).all():  # the usual case: batches are cut from rows sorted by length
        ids, types = batch["input_ids"], batch["token_type_ids"]
    else:
        mask, ids, types = mask[order], batch["input_ids"][order], batch["token_type_ids"][order]
    chosen = ids[mask]
    return Flat(chosen, types[mask] if segments else np.zeros_like(chosen), lengths[order]), order


def slices(flat: Flat, parts: Sequence[range]) -> list[Flat]:
    """`flat` by neighbouring rows; `parts` are all its rows in order."""
    ends = np.cumsum(flat.lengths)[[part.stop - 1 for part in parts]]
    tokens = zip(np.split(flat.ids, ends[:-1]), np.split(flat.types, ends[:-1]), strict=True)
    return [Flat(*own, flat.lengths[part.start : part.stop]) for own, part in zip(tokens, parts, strict=True)]


def one_array(flat: Flat, bucket: Bucket) -> Ints:
    """Everything that a device needs to know, for one copy: ids, types, and ends as `Layout` has them.

    Shape (2 * bucket.tokens + bucket.rows + 1,). What fills the bucket's tokens is rows of zeros, none longer than
    the longest real one: the device computes them like any other, and nobody reads their scores.
    """
    tokens, rows, longest = len(flat.ids), len(flat.lengths), int(flat.lengths.max())
    whole = np.zeros(2 * bucket.tokens + bucket.rows + 1, dtype=np.int64)
    whole[:tokens] = flat.ids
    whole[bucket.tokens : bucket.tokens + tokens] = flat.types
    ends = whole[2 * bucket.tokens :]
    np.cumsum(flat.lengths, out=ends[1 : rows + 1])
    ends[rows + 1 :] = np.minimum(tokens + longest * np.arange(1, bucket.rows - rows + 1), bucket.tokens)
    return whole
