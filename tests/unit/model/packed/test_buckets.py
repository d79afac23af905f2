"""Buckets hold what they are asked for, and there are few of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.model.packed.buckets import LARGEST_TOKENS, Bucket, bucket_of

LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=12)


def bucket(lengths: list[int]) -> Bucket:
    found = bucket_of(sum(lengths), len(lengths), max(lengths))
    assert found is not None
    return found


@given(LENGTHS)
def test_a_bucket_has_room_for_the_rows_and_for_those_that_fill_it(lengths: list[int]) -> None:
    """The filling comes in rows no longer than the longest real one, whose positions the model surely has."""
    found = bucket(lengths)
    filling = -(-(found.tokens - sum(lengths)) // max(lengths))
    assert found.rows >= len(lengths) + filling
    assert found.longest >= max(lengths)


@given(LENGTHS)
def test_filling_is_at_most_a_quarter_or_a_step(lengths: list[int]) -> None:
    assert bucket(lengths).tokens - sum(lengths) < max(64, sum(lengths) / 4)


@given(LENGTHS)
def test_a_bucket_is_its_own_bucket(lengths: list[int]) -> None:
    """What fills it fits it."""
    found = bucket(lengths)
    assert bucket_of(*found) == found


def test_few_buckets_serve_many_batches() -> None:
    """24 widths; rows and lengths in powers of two."""
    widths = {bucket_of(tokens, 1, tokens).tokens for tokens in range(1, LARGEST_TOKENS + 1)}  # type: ignore[union-attr]
    assert len(widths) == 24
    assert bucket_of(1000, 33, 50) == Bucket(1024, 64, 64)


def test_a_large_batch_has_no_bucket() -> None:
    assert bucket_of(LARGEST_TOKENS + 1, 100, 200) is None
