"""Tables that a model is measured on during training: labelled pairs, and lists of documents."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from training.commands.data import read_table
from training.cross_encoder.columns import input_columns, label_column
from training.errors import DataError
from training.examples import draw
from training.recipe import EvaluationSet

Pairs = list[tuple[str, str]]
Check = Callable[[Any], str | None]
"""What is wrong with a value, None if nothing is."""
LISTS = ("negative", "documents")
"""Columns of which a table of the evaluator's own samples has one."""


def class_pairs(options: EvaluationSet, root: Path, seed: int, classes: int) -> tuple[Pairs, list[int]]:
    """Pairs of texts with the number of their class. Raises DataError naming set, row, column and remedy."""

    def wrong(value: Any) -> str | None:
        whole = isinstance(value, int | float) and float(value).is_integer()
        return None if whole and 0 <= value < classes else f"is {value!r}, but classes are numbered 0 to {classes - 1}"

    pairs, labels = _labelled(options, root, seed, wrong)
    return pairs, [int(label) for label in labels]


def scored_pairs(options: EvaluationSet, root: Path, seed: int) -> tuple[Pairs, list[float]]:
    """Pairs of texts with their score. Raises DataError naming set, row, column and remedy."""

    def wrong(value: Any) -> str | None:
        return None if _is_number(value) else f"is {value!r}, but a score is a number"

    pairs, scores = _labelled(options, root, seed, wrong)
    if len(set(scores)) < 2:
        raise DataError(f"evaluation {options.name!r}: a correlation needs different scores; add rows, or remove it")
    return pairs, [float(score) for score in scores]


def ranked_lists(options: EvaluationSet, root: Path, seed: int) -> list[dict[str, Any]]:
    """Samples of the reranking evaluator; lists without a relevant document are left out. Raises DataError."""
    rows = _rows(options, root, seed)
    if "positive" in rows.column_names and any(name in rows.column_names for name in LISTS):
        return [_checked(options.name, number, row) for number, row in enumerate(rows)]
    inputs, label = input_columns(rows.column_names), label_column(rows.column_names)
    if len(inputs) != 2 or label is None:
        known = ", ".join(rows.column_names)
        raise DataError(
            f"evaluation {options.name!r}: has the columns {known}, but lists need query, positive and negative (or "
            "documents), or a query, a list of documents and a list of labels; choose them with `columns`"
        )
    samples = [_sample(options.name, number, row, inputs, label) for number, row in enumerate(rows)]
    found = [sample for sample in samples if sample["positive"]]
    if not found:
        raise DataError(f"evaluation {options.name!r}: no list has a label above 0; correct column {label!r}")
    return found


def _checked(name: str, number: int, row: dict[str, Any]) -> dict[str, Any]:
    """A sample of the evaluator's own kind; where there are both kinds of lists, one of them may be None."""
    where = f"evaluation {name!r}, row {number}"
    if not isinstance(row.get("query"), str):
        raise DataError(f"{where}: column 'query' holds no text; correct it, or choose others with `columns`")
    given = [each for each in LISTS if row.get(each) is not None] or [each for each in LISTS if each in row]
    for column in ("positive", *given):
        _check_texts(where, column, [row[column]] if isinstance(row[column], str) else row[column])
    if row.get("relevance") is not None:
        _check_grades(where, "relevance", row["relevance"])
    return row


def _sample(name: str, number: int, row: dict[str, Any], inputs: list[str], label: str) -> dict[str, Any]:
    query, documents, grades = row[inputs[0]], row[inputs[1]], row[label]
    where = f"evaluation {name!r}, row {number}"
    if not isinstance(query, str):
        raise DataError(f"{where}: column {inputs[0]!r} holds no text; correct it, or choose others with `columns`")
    if not isinstance(documents, list) or not isinstance(grades, list) or len(documents) != len(grades):
        raise DataError(f"{where}: columns {inputs[1]!r} and {label!r} must be lists of one length; correct the row")
    if None in documents or None in grades:
        raise DataError(f"{where}: a document or its label is empty; fill it, or leave the row out")
    _check_texts(where, inputs[1], documents)
    _check_grades(where, label, grades)
    graded = list(zip(documents, grades, strict=True))
    return {
        "query": query,
        "positive": {document: grade for document, grade in graded if grade > 0},
        "negative": [document for document, grade in graded if grade <= 0],
    }


def _check_texts(where: str, column: str, texts: Any) -> None:
    _check_each(where, column, texts, lambda text: isinstance(text, str), "texts are needed")


def _check_grades(where: str, column: str, grades: Any) -> None:
    _check_each(where, column, grades, _is_number, "grades are a list of numbers")


def _check_each(where: str, column: str, values: Any, is_right: Callable[[Any], bool], advice: str) -> None:
    wrong = [value for value in values if not is_right(value)] if isinstance(values, list) else [values]
    if wrong:
        found = reprlib.repr(wrong[0])
        raise DataError(f"{where}: column {column!r} holds {found}, but {advice}; correct it, or leave the row out")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _labelled(options: EvaluationSet, root: Path, seed: int, wrong: Check) -> tuple[Pairs, list[Any]]:
    rows = _rows(options, root, seed)
    inputs, label = input_columns(rows.column_names), label_column(rows.column_names)
    if len(inputs) != 2 or label is None:
        raise DataError(
            f"evaluation {options.name!r}: has the columns {', '.join(rows.column_names)}, but two texts and a column "
            "'label' or 'score' are needed; choose or rename them with `columns`"
        )
    for number, row in enumerate(rows):
        for name in inputs:
            if not isinstance(row[name], str):
                raise DataError(
                    f"evaluation {options.name!r}, row {number}: column {name!r} holds no text; correct the row"
                )
        if problem := wrong(row[label]):
            raise DataError(
                f"evaluation {options.name!r}, row {number}: column {label!r} {problem}; correct it, or the set's kind"
            )
    return list(zip(rows[inputs[0]], rows[inputs[1]], strict=True)), list(rows[label])


def _rows(options: EvaluationSet, root: Path, seed: int) -> datasets.Dataset:
    rows = read_table(options, root)
    if options.limit is None:
        return rows
    return rows.select(draw(range(len(rows)), options.limit, np.random.default_rng(seed)))
