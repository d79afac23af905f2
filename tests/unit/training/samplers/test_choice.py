"""How samplers are chosen: names, enums, classes, functions."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from sentence_transformers.base import sampler as library
from torch.utils.data import BatchSampler, ConcatDataset

import training.sampler
from tests.unit.training.samplers.cases import pairs, settings
from training.sampling.build import build_batch_sampler, build_multi_dataset_batch_sampler
from training.training_args import BatchSamplers, MultiDatasetBatchSamplers


class Reversed(training.sampler.DefaultBatchSampler):
    """A user's sampler."""


class InOrder(training.sampler.MultiDatasetDefaultBatchSampler):
    """A user's sampler of several datasets."""

    def __iter__(self) -> Any:
        yield from ([self.offsets()[1]], [0])

    def __len__(self) -> int:
        return 2


def test_every_public_name_of_the_library_is_there() -> None:
    assert set(library.__all__) | {"SetEpochMixin"} <= set(training.sampler.__all__)
    assert all(hasattr(training.sampler, name) for name in training.sampler.__all__)


@pytest.mark.parametrize("ours", [BatchSamplers, MultiDatasetBatchSamplers])
def test_names_of_the_library_have_its_values(ours: Any) -> None:
    theirs = getattr(library, ours.__name__)
    assert {choice.name: choice.value for choice in theirs}.items() <= {
        choice.name: choice.value for choice in ours
    }.items()


def test_a_name_is_its_string_and_an_unknown_one_lists_the_known() -> None:
    assert BatchSamplers("no_duplicates") is BatchSamplers.NO_DUPLICATES
    assert str(BatchSamplers.NO_DUPLICATES) == "no_duplicates"
    with pytest.raises(ValueError, match=r"'other' is not a valid BatchSamplers: choose one of 'batch_sampler', "):
        BatchSamplers("other")


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ("batch_sampler", "DefaultBatchSampler"),
        (BatchSamplers.NO_DUPLICATES, "NoDuplicatesBatchSampler"),
        ("no_duplicates_hashed", "NoDuplicatesBatchSampler"),
        ("group_by_label", "GroupByLabelBatchSampler"),
        (BatchSamplers.LENGTH_BUCKETED, "LengthBucketedBatchSampler"),
        ("token_budget", "TokenBudgetBatchSampler"),
        (Reversed, "Reversed"),
        (lambda dataset, **given: Reversed(dataset, **given), "Reversed"),
    ],
)
def test_every_form_of_choice_gives_its_sampler(choice: Any, kind: str) -> None:
    known = settings(4, True)
    built: Any = build_batch_sampler(choice, pairs(20, 30), **known, lengths=[3] * 20, max_tokens=9)
    assert type(built).__name__ == kind
    assert {name: getattr(built, name) for name in known if name != "batch_size"} == {
        name: value for name, value in known.items() if name != "batch_size"
    }


def test_a_function_gets_the_arguments_of_the_library() -> None:
    def choose(
        dataset: Any, batch_size: int, drop_last: bool, valid_label_columns: Any, generator: Any, seed: int
    ) -> BatchSampler:
        return library.DefaultBatchSampler(dataset, batch_size, drop_last, valid_label_columns, generator, seed)

    assert list(build_batch_sampler(choose, range(3), **settings(2))) == [[0, 1], [2]]


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ("round_robin", "RoundRobinBatchSampler"),
        (MultiDatasetBatchSamplers.PROPORTIONAL, "ProportionalBatchSampler"),
        (InOrder, "InOrder"),
        (lambda dataset, batch_samplers, generator, seed: InOrder(dataset, batch_samplers, generator, seed), "InOrder"),
    ],
)
def test_every_form_of_choice_for_several_datasets(choice: Any, kind: str) -> None:
    parts: Any = [range(3), range(4)]
    samplers = [build_batch_sampler("batch_sampler", part, **settings(2)) for part in parts]
    built = build_multi_dataset_batch_sampler(choice, ConcatDataset(parts), samplers, seed=3)
    assert type(built).__name__ == kind
    assert len(list(built)) == len(built)


def test_weights_make_proportional_weighted() -> None:
    parts: Any = [range(3), range(4)]
    samplers = [build_batch_sampler("batch_sampler", part, **settings(2)) for part in parts]
    built = build_multi_dataset_batch_sampler("proportional", ConcatDataset(parts), samplers, weights=[1, 2])
    assert type(built).__name__ == "WeightedBatchSampler"


@pytest.mark.parametrize("build", [build_batch_sampler, build_multi_dataset_batch_sampler])
def test_an_unknown_name_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="'nothing' is not a valid"):
        build("nothing", ConcatDataset([range(3)]), [], False)  # type: ignore[list-item]


def test_the_names_load_nothing_heavy() -> None:
    code = "import sys, training.training_args; print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
