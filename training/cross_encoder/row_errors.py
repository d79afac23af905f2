"""What is wrong with a row of data, said so that it can be found and mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.errors import DataError

REMEDIES = {
    "is None": "fill it or drop such rows with dataset.filter",
    "is empty": "drop such rows with dataset.filter",
    "is missing": "give every row the same columns, or drop such rows with dataset.filter",
}


class TrainingDataError(DataError, ValueError):
    """The data does not fit the loss or the model: the message names dataset, column, row and remedy."""


class RowError(TrainingDataError):
    """A row that came up while training, known by its content: its number is not known any more."""

    def __init__(self, dataset: str | None, column: str, problem: str, row: Mapping[str, Any]) -> None:
        self._parts = (dataset, column, problem, dict(row))
        content = {name: shortened(value) for name, value in row.items()}
        super().__init__(f"{dataset_words(dataset)}column {column!r} {problem}{remedy(problem)}. The row is {content}")

    def __reduce__(self) -> tuple[type[RowError], tuple[Any, ...]]:
        return RowError, self._parts  # DataLoader workers send their errors by pickle


def dataset_words(dataset: str | None) -> str:
    """How a message begins that names a dataset."""
    return f"dataset {dataset!r}, " if dataset else "the dataset's "


def remedy(problem: str) -> str:
    """What to do about a problem that `first_problem` named."""
    return next((f": {text}" for start, text in REMEDIES.items() if problem.endswith(start)), "")


def first_problem(value: Any) -> str | None:
    """What is wrong with an input value, as words after the column's name; None if nothing is.

    Texts must not be None or blank, nor may those in lists. Other objects are left to the loss.
    """
    if value is None:
        return "is None"
    if isinstance(value, str):
        return None if value and not value.isspace() else "is empty"
    if isinstance(value, list | tuple):
        if not value:
            return "has a list that is empty"
        for i, entry in enumerate(value):
            if problem := first_problem(entry):
                return f"has an entry {i} that {problem}"
    return None


def shortened(value: Any, limit: int = 80) -> Any:
    """A value for a message."""
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}..."
    if isinstance(value, list | tuple):
        return [shortened(entry, limit) for entry in value[:3]] + (["..."] if len(value) > 3 else [])
    return value
