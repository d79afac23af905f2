"""Samplers over several datasets, and the dataset that they index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from sentence_transformers.base import sampler as library
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, RandomSampler

from tests.unit.training.samplers.cases import epochs, flat, pairs, rows, settings
from training.sampler import (
    BatchSamplers,
    DefaultBatchSampler,
    MultiDatasetDefaultBatchSampler,
    NoDuplicatesBatchSampler,
    ProportionalBatchSampler,
    WeightedBatchSampler,
)
from training.sampling.build import build_batch_sampler, build_multi_dataset_batch_sampler
from training.sampling.concat import BatchedConcatDataset

SIZES = [40, 11, 25]


def several(
    name: str,
    child: str = "batch_sampler",
    drop_last: bool = False,
    sizes: Any = SIZES,
    distinct: int = 30,
    **more: Any,
) -> Any:
    """A sampler over datasets of `sizes`, built as a trainer does it: one generator for all."""
    parts = [pairs(size, distinct, seed) for seed, size in enumerate(sizes)]
    known = settings(4, drop_last)
    samplers = [build_batch_sampler(child, part, **known, lengths=[9] * len(part), max_tokens=40) for part in parts]
    return build_multi_dataset_batch_sampler(
        name, BatchedConcatDataset(parts), samplers, known["generator"], known["seed"], **more
    )


def of_library(name: str, child: str, drop_last: bool, distinct: int) -> Any:
    parts = [pairs(size, distinct, seed) for seed, size in enumerate(SIZES)]
    known = settings(4, drop_last)
    children: dict[str, Callable[[Any], BatchSampler]] = {
        "batch_sampler": lambda part: library.DefaultBatchSampler(
            RandomSampler(part, generator=known["generator"]), **known
        ),
        "no_duplicates": lambda part: library.NoDuplicatesBatchSampler(part, **known),
        "group_by_label": lambda part: library.GroupByLabelBatchSampler(part, **known),
    }
    outer = {"round_robin": library.RoundRobinBatchSampler, "proportional": library.ProportionalBatchSampler}[name]
    samplers = [children[child](part) for part in parts]
    return outer(ConcatDataset(parts), samplers, generator=known["generator"], seed=known["seed"])


def part_of(batch: list[int], sizes: list[int] = SIZES) -> int:
    """The one dataset that the batch is from."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    [part] = {next(part for part, end in enumerate(ends) if index < end) for index in batch}
    return part


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("child", ["batch_sampler", "no_duplicates", "group_by_label"])
@pytest.mark.parametrize("name", ["round_robin", "proportional"])
def test_every_epoch_is_that_of_the_library(name: str, child: str, drop_last: bool) -> None:
    """With few equal values: where NoDuplicates needs more batches than the library estimates, that one loses rows."""
    theirs = of_library(name, child, drop_last, distinct=200)
    for epoch, batches in enumerate(epochs(several(name, child, drop_last, distinct=200))):
        theirs.set_epoch(epoch)
        assert batches == list(theirs)


def test_proportional_uses_all_rows_where_the_library_estimates_too_few_batches() -> None:
    """Regression for the estimated len(): a dataset that needs more batches than estimated lost its last rows."""
    same = Dataset.from_dict({"question": ["same"] * 10, "answer": [str(row) for row in range(10)]})
    parts = [same, pairs(10, 1000)]
    ours, theirs = (
        multi(concat(parts), [one(part, **settings(4)) for part in parts], seed=1)
        for multi, concat, one in (
            (ProportionalBatchSampler, BatchedConcatDataset, NoDuplicatesBatchSampler),
            (library.ProportionalBatchSampler, ConcatDataset, library.NoDuplicatesBatchSampler),
        )
    )
    assert len(flat(list(theirs))) < 20
    assert sorted(flat(epochs(ours, [0])[0])) == list(range(20))


@pytest.mark.parametrize("child", [choice.value for choice in BatchSamplers])
@pytest.mark.parametrize(
    "more", [{"name": "round_robin"}, {"name": "proportional"}, {"name": "weighted", "temperature": 3}]
)
def test_batches_have_one_dataset_and_depend_on_seed_and_epoch_only(child: str, more: dict[str, Any]) -> None:
    found = epochs(several(child=child, **more))
    torch.manual_seed(1)
    assert epochs(several(child=child, **more), [2, 1]) == [found[2], found[1]]
    for batch in (batch for batches in found for batch in batches):
        part_of(batch)
    assert found[0] != found[1]


def test_round_robin_takes_turns_until_one_dataset_ends() -> None:
    [batches] = epochs(several("round_robin"), [0])
    assert [part_of(batch) for batch in batches] == [0, 1, 2] * 3


class TestWeighted:
    def test_temperature_one_is_proportional(self) -> None:
        assert epochs(several("weighted", temperature=1)) == epochs(several("proportional"))

    @pytest.mark.parametrize(
        ("option", "expected"),
        [
            ({"weights": [1, 1, 2]}, [5, 5, 10]),
            ({"weights": [0, 3, 1]}, [0, 15, 5]),
            ({"weights": {"c": 0.5, "a": 0.25, "b": 0.25}, "names": "abc"}, [5, 5, 10]),
            ({"temperature": 1e9}, [20 / 3] * 3),
            ({"temperature": 1e-3}, [20, 0, 0]),
        ],
    )
    def test_datasets_come_as_often_as_asked(self, option: dict[str, Any], expected: list[float]) -> None:
        for batches in epochs(several("weighted", **option)):
            counts = Counter(part_of(batch) for batch in batches)
            assert all(abs(counts[part] - share) < 1 for part, share in enumerate(expected))

    @settings_of_hypothesis(max_examples=25)
    @given(weights=st.lists(st.floats(0, 5), min_size=2, max_size=6).filter(lambda weights: sum(weights) > 1e-3))
    def test_counts_add_up_and_are_right_on_average(self, weights: list[float]) -> None:
        parts: Any = [rows(9, 50, seed) for seed in range(len(weights))]
        samplers: list[BatchSampler] = [DefaultBatchSampler(range(9), 3, False) for _ in weights]
        sampler = WeightedBatchSampler(BatchedConcatDataset(parts), samplers, weights=weights)
        total = torch.zeros(len(weights), dtype=torch.float64)
        for batches in epochs(sampler, range(40)):
            total += torch.bincount(torch.tensor([batch[0] // 9 for batch in batches]), minlength=len(weights))
        shares = torch.tensor(weights, dtype=torch.float64) / sum(weights) * 3 * len(weights)
        assert (total / 40 - shares).abs().max() < 0.35

    @pytest.mark.parametrize("child", ["batch_sampler", "no_duplicates", "length_bucketed"])
    def test_a_dataset_that_runs_out_starts_again_in_another_order(self, child: str) -> None:
        sampler = several("weighted", child, distinct=1000, weights=[0, 1, 0])
        for batches in epochs(sampler, [0, 1]):
            seen = [sorted(index - 40 for index in flat(batches[start : start + 3])) for start in (0, 3, 6)]
            assert seen == [list(range(11))] * 3
            assert batches[:3] != batches[3:6] != batches[6:9]

    def test_the_number_of_batches_can_be_set(self) -> None:
        parts: Any = [range(40), range(20)]
        samplers: list[BatchSampler] = [DefaultBatchSampler(part, 4, False) for part in parts]
        sampler = WeightedBatchSampler(BatchedConcatDataset(parts), samplers, weights=[1, 1], num_batches=7)
        assert [len(batches) for batches in epochs(sampler)] == [7, 7, 7]

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({}, "either a weight"),
            ({"weights": [1, 1, 1], "temperature": 2}, "either a weight"),
            ({"weights": [1, 1]}, "3 datasets need as many weights"),
            ({"weights": [1, 1, -1]}, "not negative"),
            ({"weights": [0, 0, 0]}, "not all 0"),
            ({"weights": [1, 1, float("nan")]}, "finite"),
            ({"temperature": 0}, "temperature must be positive"),
            ({"weights": {"a": 1}, "names": "abc"}, r"given for \['a'\], the datasets are \['a', 'b', 'c'\]"),
        ],
    )
    def test_options_that_do_not_fit_are_refused(self, option: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            several("weighted", **option)

    def test_a_weighted_dataset_without_a_batch_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Dataset 1 has no batch"):
            list(several("weighted", drop_last=True, sizes=[40, 3], weights=[1, 1]))
        with pytest.raises(ValueError, match="No dataset has a batch"):
            list(several("weighted", drop_last=True, sizes=[3, 3], temperature=2))

    def test_weights_and_round_robin_contradict(self) -> None:
        with pytest.raises(ValueError, match="round_robin gives equal shares"):
            several("round_robin", temperature=2)


def test_one_sampler_for_every_dataset() -> None:
    with pytest.raises(ValueError, match="2 datasets need as many samplers, not 1"):
        ProportionalBatchSampler(BatchedConcatDataset([[1], [2]]), [DefaultBatchSampler(range(1), 1, False)])  # type: ignore[list-item]


def test_the_base_class_defines_no_order() -> None:
    with pytest.raises(TypeError, match="abstract"):
        MultiDatasetDefaultBatchSampler(BatchedConcatDataset([[1]]), [])  # type: ignore[abstract, list-item]


class TestConcat:
    @given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(sum), data=st.data())
    def test_a_batch_is_the_rows_one_by_one(self, sizes: list[int], data: st.DataObject) -> None:
        total = sum(sizes)
        concat = BatchedConcatDataset([[(part, row) for row in range(size)] for part, size in enumerate(sizes)])  # type: ignore[misc]
        indices = data.draw(st.lists(st.integers(-total, total - 1), max_size=20))
        assert concat.__getitems__(indices) == [concat[index] for index in indices]

    def test_a_dataset_is_asked_once_for_a_batch(self) -> None:
        asked = []

        class Counting(list[int]):
            def __getitems__(self, indices: list[int]) -> list[int]:
                asked.append(indices)
                return [self[index] for index in indices]

        concat = BatchedConcatDataset([Counting([1, 2, 3]), Counting([4, 5, 6])])  # type: ignore[list-item]
        loader = DataLoader(concat, batch_sampler=[[0, 2], [5, 1, 3]], collate_fn=list)
        assert list(loader) == [[1, 3], [6, 2, 4]]
        assert asked == [[0, 2], [2, 0], [1]]

    def test_rows_of_arrow_datasets_are_those_of_the_plain_concatenation(self) -> None:
        parts = [pairs(9, 5, 1), pairs(7, 5, 2)]
        batch = [15, 0, 8, 9]
        assert BatchedConcatDataset(parts).__getitems__(batch) == [ConcatDataset(parts)[index] for index in batch]

    @pytest.mark.parametrize("index", [3, -4])
    def test_a_row_that_is_not_there_is_named(self, index: int) -> None:
        with pytest.raises(IndexError, match=f"Row {index} of 3"):
            BatchedConcatDataset([[1, 2], [3]]).__getitems__([index])  # type: ignore[list-item]
