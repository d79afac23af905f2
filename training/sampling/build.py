"""From the name, class or function of the training arguments to a sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.utils.data import BatchSampler, ConcatDataset, RandomSampler

from training.sampling.default import DefaultBatchSampler
from training.sampling.group_by_label import GroupByLabelBatchSampler
from training.sampling.length_bucketed import LengthBucketedBatchSampler
from training.sampling.no_duplicates import NoDuplicatesBatchSampler
from training.sampling.proportional import ProportionalBatchSampler
from training.sampling.round_robin import RoundRobinBatchSampler
from training.sampling.token_budget import TokenBudgetBatchSampler
from training.sampling.weighted import WeightedBatchSampler
from training.training_args import BatchSamplers, MultiDatasetBatchSamplers

Choice: TypeAlias = str | Callable[..., BatchSampler]
"""A name, a class or a function: enums are strings, classes are callable."""


def build_batch_sampler(
    choice: Choice,
    dataset: Any,
    batch_size: int,
    drop_last: bool,
    valid_label_columns: list[str] | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = 0,
    *,
    lengths: Sequence[int] | None = None,
    max_tokens: int | None = None,
) -> BatchSampler:
    """The batches of one dataset.

    A class or function gets `(dataset, batch_size=, drop_last=, valid_label_columns=, generator=, seed=)`. `lengths`
    (of the rows) and `max_tokens` are for the samplers by length. ValueError for an unknown name.
    """
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "drop_last": drop_last,
        "valid_label_columns": valid_label_columns,
        "generator": generator,
        "seed": seed,
    }
    if callable(choice):
        return choice(dataset, **settings)
    match BatchSamplers(choice):
        case BatchSamplers.BATCH_SAMPLER:
            if generator is None:
                # The same order as with a generator that the caller made.
                settings["generator"] = torch.Generator()
            return DefaultBatchSampler(RandomSampler(dataset, generator=settings["generator"]), **settings)
        case BatchSamplers.NO_DUPLICATES | BatchSamplers.NO_DUPLICATES_HASHED as name:
            hashed = name is BatchSamplers.NO_DUPLICATES_HASHED
            return NoDuplicatesBatchSampler(dataset, **settings, precompute_hashes=hashed)
        case BatchSamplers.GROUP_BY_LABEL:
            return GroupByLabelBatchSampler(dataset, **settings)
        case BatchSamplers.LENGTH_BUCKETED:
            return LengthBucketedBatchSampler(dataset, **settings, lengths=lengths)
        case BatchSamplers.TOKEN_BUDGET:
            return TokenBudgetBatchSampler(dataset, **settings, lengths=lengths, max_tokens=max_tokens)


def build_multi_dataset_batch_sampler(
    choice: Choice,
    dataset: ConcatDataset[Any],
    batch_samplers: list[BatchSampler],
    generator: torch.Generator | None = None,
    seed: int | None = 0,
    *,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    temperature: float | None = None,
    names: Sequence[str] = (),
) -> BatchSampler:
    """The batches of several datasets.

    A class or function gets `(dataset, batch_samplers=, generator=, seed=)`. `weights` (one for each dataset, or by
    the datasets' `names`) or `temperature` make `proportional`, the default of the arguments, `weighted`. ValueError
    for an unknown name, for weights that do not fit, and for weights with `round_robin`.
    """
    if callable(choice):
        return choice(dataset, batch_samplers=batch_samplers, generator=generator, seed=seed)
    chosen = MultiDatasetBatchSamplers(choice)
    weighted = weights is not None or temperature is not None
    if chosen is MultiDatasetBatchSamplers.ROUND_ROBIN:
        if weighted:
            raise ValueError("round_robin gives equal shares: weights and temperature need 'weighted'")
        return RoundRobinBatchSampler(dataset, batch_samplers, generator, seed)
    if chosen is MultiDatasetBatchSamplers.PROPORTIONAL and not weighted:
        return ProportionalBatchSampler(dataset, batch_samplers, generator, seed)
    if isinstance(weights, Mapping):
        weights = _by_name(weights, names)
    return WeightedBatchSampler(dataset, batch_samplers, generator, seed, weights=weights, temperature=temperature)


def _by_name(weights: Mapping[str, float], names: Sequence[str]) -> list[float]:
    if set(weights) != set(names):
        raise ValueError(f"Weights are given for {sorted(weights)}, the datasets are {sorted(names)}")
    return [weights[name] for name in names]
