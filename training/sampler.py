"""The samplers under the name by which training scripts import them."""

from __future__ import annotations

from training.sampling.default import DefaultBatchSampler
from training.sampling.epoch import SetEpochMixin
from training.sampling.group_by_label import GroupByLabelBatchSampler
from training.sampling.length_bucketed import LengthBucketedBatchSampler
from training.sampling.multi_dataset import MultiDatasetDefaultBatchSampler
from training.sampling.no_duplicates import NoDuplicatesBatchSampler
from training.sampling.proportional import ProportionalBatchSampler
from training.sampling.round_robin import RoundRobinBatchSampler
from training.sampling.token_budget import TokenBudgetBatchSampler
from training.sampling.weighted import WeightedBatchSampler
from training.training_args import BatchSamplers, MultiDatasetBatchSamplers

__all__ = [
    "BatchSamplers",
    "DefaultBatchSampler",
    "GroupByLabelBatchSampler",
    "LengthBucketedBatchSampler",
    "MultiDatasetBatchSamplers",
    "MultiDatasetDefaultBatchSampler",
    "NoDuplicatesBatchSampler",
    "ProportionalBatchSampler",
    "RoundRobinBatchSampler",
    "SetEpochMixin",
    "TokenBudgetBatchSampler",
    "WeightedBatchSampler",
]
