"""Which column of a dataset is what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LABEL_COLUMNS = ("label", "labels", "score", "scores")
"""The first of these that a dataset has holds its labels; all other columns are inputs, by position."""

LABEL = "label"
DATASET_NAME = "dataset_name"
PROMPT = "prompt"
TASK = "task"
RESERVED = frozenset({DATASET_NAME, "return_loss"})
"""Names that the trainer itself uses."""


def label_column(columns: Iterable[str], valid: Sequence[str] = LABEL_COLUMNS) -> str | None:
    """The label column among `columns`, if there is one: the first of `valid`, whatever the dataset's order."""
    present = set(columns)
    return next((name for name in valid if name in present), None)


def input_columns(columns: Iterable[str], valid: Sequence[str] = LABEL_COLUMNS) -> list[str]:
    """The columns that the loss is given, in order."""
    names = list(columns)
    label = label_column(names, valid)
    return [name for name in names if name != label and name not in RESERVED]
