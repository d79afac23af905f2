"""The names by which training arguments choose a sampler; importing this file loads nothing heavy."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn


class NamedChoice(StrEnum):
    """A choice that is equal to its string; an unknown string lists the known ones (ValueError)."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        known = ", ".join(repr(choice.value) for choice in cls)
        raise ValueError(f"{value!r} is not a valid {cls.__name__}: choose one of {known}")


class BatchSamplers(NamedChoice):
    """How the rows of one dataset are grouped into batches.

    `batch_sampler` draws rows at random; `no_duplicates` keeps equal values out of a batch (for losses with in-batch
    negatives; `no_duplicates_hashed` is the same here); `group_by_label` gives every batch several labels, each at
    least twice; `length_bucketed` groups rows of like length at random; `token_budget` limits tokens, not rows.
    """

    BATCH_SAMPLER = "batch_sampler"
    NO_DUPLICATES = "no_duplicates"
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    GROUP_BY_LABEL = "group_by_label"
    LENGTH_BUCKETED = "length_bucketed"
    TOKEN_BUDGET = "token_budget"  # noqa: S105 - the tokens of a text, not a password


class MultiDatasetBatchSamplers(NamedChoice):
    """In which order batches of several datasets come: in turn, by size, or by weight or temperature."""

    ROUND_ROBIN = "round_robin"
    PROPORTIONAL = "proportional"
    WEIGHTED = "weighted"


__all__ = ["BatchSamplers", "MultiDatasetBatchSamplers"]
