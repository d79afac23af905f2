"""Batches under a token budget: every input once, the budget kept, padding bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.model.bucketing import Budget, cut_batches

LENGTHS = st.lists(st.integers(1, 600), max_size=200)
BUDGETS = st.builds(Budget, st.integers(1, 4096), st.integers(1, 64), st.floats(0, 1))


@given(LENGTHS, BUDGETS)
def test_every_index_occurs_exactly_once(lengths: list[int], budget: Budget) -> None:
    """Nothing is lost, nothing is computed twice, no batch is empty."""
    batches = cut_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, BUDGETS)
def test_longest_times_rows_stays_within_the_budget(lengths: list[int], budget: Budget) -> None:
    """Only a single row that is longer than the budget may exceed it, alone."""
    for batch in cut_batches(lengths, budget):
        longest = max(lengths[index] for index in batch)
        assert len(batch) <= budget.max_rows
        assert len(batch) * longest <= budget.max_tokens or len(batch) == 1


@given(LENGTHS, BUDGETS)
def test_no_row_is_shorter_than_min_fill_of_its_batch(lengths: list[int], budget: Budget) -> None:
    """Padding waste has a bound that holds for every batch."""
    for batch in cut_batches(lengths, budget):
        members = [lengths[index] for index in batch]
        assert min(members) >= budget.min_fill * max(members)


@given(LENGTHS, BUDGETS)
def test_batches_go_from_long_to_short_with_ties_by_index(lengths: list[int], budget: Budget) -> None:
    """The order is a function of the lengths alone, so a run can be repeated exactly."""
    flat = [index for batch in cut_batches(lengths, budget) for index in batch]
    assert flat == sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))


@given(st.lists(st.integers(20, 30), min_size=1, max_size=100))
def test_similar_lengths_fill_their_batches(lengths: list[int]) -> None:
    """Where padding is no concern every batch but the last has all the rows that fit its longest."""
    budget = Budget(max_tokens=200, max_rows=8, min_fill=0.5)
    for batch in cut_batches(lengths, budget)[:-1]:
        assert len(batch) == budget.rows_at(max(lengths[index] for index in batch))


@given(BUDGETS, st.integers(1, 10_000))
def test_shrinking_goes_below_the_batch_that_failed_and_ends_at_one_token(budget: Budget, padded: int) -> None:
    """Retrying after an out-of-memory error always asks for less, and never for nothing."""
    smaller = budget.below(padded)
    assert 1 <= smaller.max_tokens <= max(1, padded // 2)
    assert smaller.max_tokens <= budget.max_tokens
    assert smaller.below(1).max_tokens == 1
