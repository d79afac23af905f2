"""Samplers of one dataset other than NoDuplicates."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, skip_first_batches
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.base import sampler as library
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from tests.unit.training.samplers.cases import Rows, epochs, flat, pairs, settings
from training.sampler import (
    DefaultBatchSampler,
    GroupByLabelBatchSampler,
    LengthBucketedBatchSampler,
    TokenBudgetBatchSampler,
)
from training.sampling.build import build_batch_sampler

LABELS = ["label", "labels"]


def labelled(labels: list[int]) -> Rows:
    class Labelled(Rows):
        def __getitem__(self, key: Any) -> Any:
            return labels if key == "label" else {"label": labels[key]}

    return Labelled({"label": label} for label in labels)


def lengths_of(count: int, seed: int) -> list[int]:
    return [int(length) for length in np.random.default_rng(seed).lognormal(4, 0.6, count)]


class TestDefault:
    @pytest.mark.parametrize("drop_last", [False, True])
    def test_the_first_epoch_is_that_of_the_library(self, drop_last: bool) -> None:
        ours = build_batch_sampler("batch_sampler", range(43), **settings(4, drop_last))
        known = settings(4, drop_last)
        theirs = library.DefaultBatchSampler(RandomSampler(range(43), generator=known["generator"]), **known)
        assert list(ours) == list(theirs)

    def test_every_epoch_depends_on_seed_and_epoch_only(self) -> None:
        """In the library the order of an epoch depends on how many came before, if accelerate does not see to it."""
        whole = epochs(build_batch_sampler("batch_sampler", range(43), **settings(4)))
        assert whole[0] != whole[1] != whole[2]
        assert epochs(build_batch_sampler("batch_sampler", range(43), **settings(4)), [2, 1]) == [whole[2], whole[1]]

    def test_no_generator_gives_the_order_of_a_generator(self) -> None:
        given_none = settings(4) | {"generator": None}
        assert list(build_batch_sampler("batch_sampler", range(43), **given_none)) == list(
            build_batch_sampler("batch_sampler", range(43), **settings(4))
        )

    def test_rows_in_order_stay_in_order(self) -> None:
        assert list(DefaultBatchSampler(range(5), **settings(2))) == [[0, 1], [2, 3], [4]]


class TestGroupByLabel:
    @pytest.mark.parametrize("drop_last", [False, True])
    @pytest.mark.parametrize("batch_size", [4, 6, 16])
    def test_every_epoch_is_that_of_the_library(self, batch_size: int, drop_last: bool) -> None:
        data = pairs(150, 10)
        ours = GroupByLabelBatchSampler(data, **settings(batch_size, drop_last))
        theirs = library.GroupByLabelBatchSampler(data, **settings(batch_size, drop_last))
        for epoch, batches in enumerate(epochs(ours)):
            theirs.set_epoch(epoch)
            assert batches == list(theirs)

    @given(
        labels=st.lists(st.integers(0, 5), min_size=4, max_size=60).filter(
            lambda found: sum(found.count(label) >= 2 for label in set(found)) >= 2
        ),
        half=st.integers(2, 6),
        drop_last=st.booleans(),
    )
    def test_every_batch_has_two_labels_with_two_rows_each(self, labels: list[int], half: int, drop_last: bool) -> None:
        sampler = GroupByLabelBatchSampler(labelled(labels), **settings(2 * half, drop_last))
        for batches in epochs(sampler):
            assert len(set(flat(batches))) == len(flat(batches))
            for batch in batches:
                found = [labels[index] for index in batch]
                assert len(set(found)) >= 2
                assert all(found.count(label) >= 2 for label in found)

    @pytest.mark.parametrize("batch_size", [2, 5])
    def test_a_batch_that_cannot_hold_two_labels_is_refused(self, batch_size: int) -> None:
        with pytest.raises(ValueError, match="even number >= 4"):
            GroupByLabelBatchSampler(pairs(20, 5), **settings(batch_size))

    def test_a_dataset_without_two_labels_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 2 labels"):
            GroupByLabelBatchSampler(labelled([1, 1, 1, 2]), **settings(4))

    def test_a_dataset_without_a_label_column_is_refused(self) -> None:
        data = Dataset.from_dict({"text": ["a"] * 8})
        with pytest.raises(ValueError, match=r"label column.*'text'"):
            GroupByLabelBatchSampler(data, **settings(4))


class TestLengthBucketed:
    @given(count=st.integers(0, 90), batch_size=st.integers(1, 9), drop_last=st.booleans(), mega=st.integers(1, 5))
    def test_every_row_comes_once(self, count: int, batch_size: int, drop_last: bool, mega: int) -> None:
        lengths = lengths_of(count, 1)
        sampler = LengthBucketedBatchSampler(
            range(count), **settings(batch_size, drop_last), lengths=lengths, mega_batches=mega
        )
        found = epochs(sampler)
        for batches in found:
            assert all(len(batch) == batch_size for batch in batches[:-1])
            seen = flat(batches)
            assert len(seen) == len(set(seen)) == (count // batch_size * batch_size if drop_last else count)
        assert epochs(sampler, [2, 0]) == [found[2], found[0]]

    def test_batches_hold_rows_of_like_length_and_come_in_random_order(self) -> None:
        lengths = lengths_of(4000, 2)
        sampler = LengthBucketedBatchSampler(range(4000), **settings(16), lengths=lengths)
        one, two = epochs(sampler, [0, 1])
        padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in one)
        assert padded < 1.1 * sum(lengths)
        assert {frozenset(batch) for batch in one}.isdisjoint(frozenset(batch) for batch in two)
        means = [np.mean([lengths[index] for index in batch]) for batch in one]
        assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2

    def test_more_mega_batches_mean_less_padding(self) -> None:
        lengths = lengths_of(2000, 3)

        def padding(mega: int) -> int:
            sampler = LengthBucketedBatchSampler(range(2000), **settings(16), lengths=lengths, mega_batches=mega)
            return sum(len(batch) * max(lengths[index] for index in batch) for batch in sampler)

        assert padding(1) > padding(4) > padding(50)

    def test_dropped_rows_are_not_the_shortest(self) -> None:
        sampler = LengthBucketedBatchSampler(range(31), **settings(16, True), lengths=range(31))
        dropped = [set(range(31)) - set(flat(batches)) for batches in epochs(sampler, range(20))]
        assert 10 < np.mean([index for rest in dropped for index in rest]) < 20

    def test_lengths_are_counted_from_the_texts_by_default(self) -> None:
        texts = ["a" * (index * 7 % 64) for index in range(64)]
        lists = [["b"] * (index % 3) for index in range(64)]
        data = Dataset.from_dict({"text": texts, "list": lists, "label": ["long" * 99] * 64})
        counted = [len(text) + len(items) for text, items in zip(texts, lists, strict=True)]
        assert list(LengthBucketedBatchSampler(data, **settings(8))) == list(
            LengthBucketedBatchSampler(data, **settings(8), lengths=counted)
        )

    @pytest.mark.parametrize(("lengths", "message"), [([1, 2], "3 rows need as many"), ([1, 2, -3], "Row 2 has a neg")])
    def test_lengths_that_do_not_fit_are_refused(self, lengths: list[int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LengthBucketedBatchSampler(range(3), **settings(2), lengths=lengths)
        with pytest.raises(ValueError, match="mega_batches"):
            LengthBucketedBatchSampler(range(3), **settings(2), mega_batches=0)


class TestTokenBudget:
    @given(
        lengths=st.lists(st.integers(0, 120), max_size=80),
        max_tokens=st.integers(1, 200),
        max_rows=st.none() | st.integers(1, 5),
        padded=st.booleans(),
    )
    def test_every_row_comes_once_within_the_budget(
        self, lengths: list[int], max_tokens: int, max_rows: int | None, padded: bool
    ) -> None:
        budget: dict[str, Any] = {"max_tokens": max_tokens, "max_rows": max_rows, "padded": padded}
        sampler = TokenBudgetBatchSampler(range(len(lengths)), **settings(8), lengths=lengths, **budget)
        found = epochs(sampler)
        assert len({len(batches) for batches in found}) == 1
        for batches in found:
            assert sorted(flat(batches)) == list(range(len(lengths)))
            for batch in batches:
                tokens = [lengths[index] for index in batch]
                cost = max(tokens) * len(tokens) if padded else sum(tokens)
                assert len(batch) == 1 or (cost <= max_tokens and len(batch) <= (max_rows or len(batch)))
        assert epochs(sampler, [2, 0]) == [found[2], found[0]]

    @pytest.mark.parametrize("padded", [False, True])
    def test_batches_are_nearly_full_and_differ_between_epochs(self, padded: bool) -> None:
        lengths = lengths_of(5000, 4)
        sampler = TokenBudgetBatchSampler(range(5000), **settings(8), lengths=lengths, max_tokens=4096, padded=padded)
        one, two = epochs(sampler, [0, 1])
        assert sum(lengths) / 4096 < len(one) < 1.15 * sum(lengths) / 4096
        together = {frozenset(pair) for batch in one for pair in pairwise(batch)}
        again = {frozenset(pair) for batch in two for pair in pairwise(batch)}
        assert len(together & again) < 0.05 * len(together)

    def test_a_sampler_of_another_seed_has_other_batches(self) -> None:
        lengths = lengths_of(100, 4)
        one, two = (
            list(TokenBudgetBatchSampler(range(100), **settings(8, seed=seed), lengths=lengths, max_tokens=512))
            for seed in (1, 2)
        )
        assert one != two

    @pytest.mark.parametrize("budget", [{}, {"lengths": [1, 2, 3]}, {"max_tokens": 5}])
    def test_lengths_and_budget_are_both_needed(self, budget: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"`lengths`.*`max_tokens`"):
            TokenBudgetBatchSampler(range(3), **settings(2), **budget)

    @pytest.mark.parametrize("budget", [{"max_tokens": 0}, {"max_tokens": 9, "max_rows": 0}])
    def test_a_budget_for_nothing_is_refused(self, budget: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be positive"):
            TokenBudgetBatchSampler(range(3), **settings(2), lengths=[1, 2, 3], **budget)

    def test_processes_share_all_batches_of_any_size(self) -> None:
        """accelerate drops batches that are not of `batch_size` rows, unless that is None."""
        lengths = lengths_of(300, 5)
        shards = []
        for rank in range(2):
            sampler = TokenBudgetBatchSampler(range(300), **settings(8, True), lengths=lengths, max_tokens=512)
            shards.append(list(BatchSamplerShard(sampler, 2, rank, even_batches=False)))
        whole = list(TokenBudgetBatchSampler(range(300), **settings(8, True), lengths=lengths, max_tokens=512))
        shared = len(whole) // 2 * 2
        assert [batch for both in zip(*shards, strict=True) for batch in both] == whole[:shared]


NAMES = ["batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label", "length_bucketed", "token_budget"]


def build(name: str, drop_last: bool = False) -> BatchSampler:
    return build_batch_sampler(name, pairs(90, 30), **settings(4, drop_last), lengths=lengths_of(90, 1), max_tokens=256)


@pytest.mark.parametrize("name", NAMES)
def test_skipping_in_a_resumed_epoch_gives_the_rest_of_it(name: str) -> None:
    whole = epochs(build(name), [4])[0]
    resumed = build(name)
    resumed.set_epoch(4)  # type: ignore[attr-defined]
    loader: DataLoader[int] = DataLoader(range(90), batch_sampler=resumed, collate_fn=list)  # type: ignore[arg-type]
    assert list(skip_first_batches(loader, 5)) == whole[5:]


@pytest.mark.parametrize("name", NAMES)
def test_global_randomness_changes_nothing(name: str) -> None:
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        found.append(epochs(build(name, drop_last=True)))
    assert found[0] == found[1]
