"""Several datasets for several processes: what they get together in a step."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

import pytest
from torch.utils.data import BatchSampler

from tests.unit.training.samplers.cases import epochs, flat, pairs, settings
from training.sampling.build import build_batch_sampler, build_multi_dataset_batch_sampler
from training.sampling.concat import BatchedConcatDataset
from training.sampling.default import DefaultBatchSampler
from training.sampling.steps import DealtBatchSampler, StepBatchSampler

SIZES = (50, 21, 31)
STARTS = (0, 50, 71)
MAX_TOKENS = 40
ORDERS: dict[str, dict[str, Any]] = {
    "proportional": {},
    "round_robin": {},
    "weighted": {"weights": [1.0, 3.0, 2.0]},
}


def sampler(processes: int, rows: int, order: str, child: str = "batch_sampler") -> BatchSampler:
    """Built as a trainer does it: one generator for all; `rows` for each process."""
    known = settings(rows, drop_last=True)
    parts = [pairs(size, distinct=1000, seed=i) for i, size in enumerate(SIZES)]
    own = [
        build_batch_sampler(
            child, part, **known, lengths=[3 + row % 7 for row in range(len(part))], max_tokens=MAX_TOKENS
        )
        for part in parts
    ]
    whole = BatchedConcatDataset(parts)
    steps = [StepBatchSampler(each, processes) for each in own]
    mixed = build_multi_dataset_batch_sampler(
        order, whole, own if processes == 1 else [*steps], known["generator"], known["seed"], **ORDERS[order]
    )
    return mixed if processes == 1 else DealtBatchSampler(whole, mixed, steps)


def dataset_of(row: int) -> int:
    return sum(row >= start for start in STARTS) - 1


def in_steps(batches: list[list[int]], processes: int) -> list[list[list[int]]]:
    return [batches[i : i + processes] for i in range(0, len(batches), processes)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_have_together_what_one_has_with_the_whole_batch(order: str, processes: int) -> None:
    one = epochs(sampler(1, 2 * processes, order))
    many = epochs(sampler(processes, 2, order))
    together = [[flat(step) for step in in_steps(batches, processes)] for batches in many]
    assert together == one
    assert all(len(batch) == 2 for batches in many for batch in batches)
    assert len({tuple(map(tuple, batches)) for batches in one}) == 3, "each epoch has an order of its own"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "child", ["batch_sampler", "no_duplicates", "group_by_label", "length_bucketed", "token_budget"]
)
def test_in_a_step_all_processes_have_the_same_dataset(order: str, child: str) -> None:
    """Batches are as the dataset's sampler made them, also where they hold different numbers of rows."""
    for batches in epochs(sampler(2, 4, order, child)):
        steps = in_steps(batches, 2)
        assert all(len({dataset_of(row) for batch in step for row in batch}) == 1 for step in steps)
        assert {dataset_of(step[0][0]) for step in steps} == {0, 1, 2}
        if child == "token_budget":
            assert len({len(batch) for batch in batches}) > 1
            rows = [[row - STARTS[dataset_of(row)] for row in batch] for batch in batches]
            assert max(sum(3 + row % 7 for row in batch) for batch in rows) <= MAX_TOKENS
        else:
            assert {len(batch) for batch in batches} == {4}


def test_a_part_that_ends_before_the_others_leaves_nothing_behind_for_the_next_epoch() -> None:
    """In turn, the batches of a last round that nobody takes are drawn before it shows that it is incomplete."""
    found = sampler(2, 2, "round_robin", "token_budget")
    first, again = epochs(found, [0, 0])
    assert first == again


def test_a_copy_has_an_epoch_of_its_own() -> None:
    """A sampler that goes through a dataset twice in an epoch works on a copy."""
    original = StepBatchSampler(DefaultBatchSampler(range(8), 2, True), 2)
    other = copy(original)
    other.set_epoch(7)
    assert isinstance(original.batches, DefaultBatchSampler)
    assert original.batches.epoch == 0
    list(other)
    assert list(original.sizes) == [[2, 2], [2, 2]]


def test_batches_that_a_users_sampler_makes_itself_are_cut_into_equal_shares() -> None:
    class Own(BatchSampler):
        def __init__(self) -> None:
            super().__init__(range(0), batch_size=6, drop_last=True)

        def __iter__(self) -> Iterator[list[int]]:
            yield from ([0, 1, 2, 3, 4, 5], [71, 72, 73, 74, 75, 76])

        def __len__(self) -> int:
            return 2

    whole = BatchedConcatDataset([range(size) for size in SIZES])  # type: ignore[list-item]
    steps = [StepBatchSampler(DefaultBatchSampler(range(size), 3, True), 2) for size in SIZES]
    dealt = DealtBatchSampler(whole, Own(), steps)
    assert list(dealt) == [[0, 1, 2], [3, 4, 5], [71, 72, 73], [74, 75, 76]]
    assert (len(dealt), dealt.batch_size) == (4, 3)
