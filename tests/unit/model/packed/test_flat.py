"""Padded batches laid end to end and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.model.packed.buckets import Bucket
from app.model.packed.flat import flatten, one_array
from app.model.packed.layout import Multiples, lay_out, places
from app.model.types import Batch

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=9)


def padded(lengths: list[int], *, left: bool = False) -> Batch:
    """Rows of distinct ids, with type 1 in the second half of each."""
    width = max(lengths)
    batch = {name: np.zeros((len(lengths), width), np.int64) for name in ("input_ids", "attention_mask")}
    batch["token_type_ids"] = np.zeros((len(lengths), width), np.int64)
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if left else slice(0, length)
        batch["input_ids"][row, place] = 100 * (row + 1) + np.arange(length)
        batch["attention_mask"][row, place] = 1
        batch["token_type_ids"][row, place] = np.arange(length) >= length // 2
    return batch


@pytest.mark.parametrize("left", [False, True])
@given(lengths=LENGTHS)
def test_every_token_once_with_the_longest_row_first(left: bool, lengths: list[int]) -> None:
    """On whichever side the padding stands; rows of one length are neighbours."""
    flat, order = flatten(padded(lengths, left=left), segments=True)
    assert flat.lengths.tolist() == sorted(lengths, reverse=True) == [lengths[row] for row in order]
    expected = np.concatenate([100 * (row + 1) + np.arange(lengths[row]) for row in order])
    np.testing.assert_array_equal(flat.ids, expected)
    types = np.concatenate([np.arange(lengths[row]) >= lengths[row] // 2 for row in order])
    np.testing.assert_array_equal(flat.types, types)


def test_models_without_segments_get_none() -> None:
    assert not flatten(padded([5, 3]), segments=False)[0].types.any()


@given(lengths=LENGTHS)
def test_an_exact_bucket_is_the_layout(lengths: list[int]) -> None:
    """As `lay_out` makes it of the same rows."""
    flat, _ = flatten(padded(lengths), segments=True)
    bucket = Bucket(len(flat.ids), len(lengths), max(lengths))
    whole = torch.from_numpy(one_array(flat, bucket))
    layout = lay_out(flat.ids, flat.types, flat.lengths.tolist(), multiples=Multiples(), device=torch.device("cpu"))
    ids, types, ends = torch.split(whole, [bucket.tokens, bucket.tokens, bucket.rows + 1])
    positions, owner = places(ends.int(), bucket.tokens)
    ours = (ids, types, positions, owner, ends)
    theirs = (layout.ids, layout.types, layout.positions, layout.owner, layout.ends)
    assert all(torch.equal(one, other.long()) for one, other in zip(ours, theirs, strict=True))
    assert positions.tolist() == [place for length in flat.lengths for place in range(length)]


def test_filling_is_made_of_rows_no_longer_than_the_longest() -> None:
    """And of rows without tokens behind them."""
    flat, _ = flatten(padded([7, 3]), segments=True)
    whole = one_array(flat, Bucket(32, 8, 16))
    assert whole[64:].tolist() == [0, 7, 10, 17, 24, 31, 32, 32, 32]
    assert not whole[10:32].any()
    assert not whole[42:64].any()
