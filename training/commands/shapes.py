"""Mined examples as the rows that a loss takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from training.cross_encoder.losses.base import CrossEncoderLoss
from training.errors import DataError
from training.examples import Example

Group = tuple[str, list[str], list[str]]
"""A query with its right and its wrong documents."""


def rows_for(loss: type[CrossEncoderLoss], examples: Sequence[Example], count: int, name: str) -> Dataset:
    """Rows for a loss of pairs (query, document, label), of lists (query, documents, labels) or without labels
    (query, positive, negative_1 to negative_`count`). `name` is the data set's for messages. Raises DataError.
    """
    if loss.columns == "list":
        return _lists(examples, name)
    if loss.columns == "anchor_positive":
        return _tuples(examples, count, name)
    if loss.columns == "pair":
        number = int if loss.labels == "class" else float
        return Dataset.from_dict(
            {
                "query": [example.query for example in examples],
                "document": [example.document for example in examples],
                "label": [number(example.label) for example in examples],
            }
        )
    raise DataError(
        f"dataset {name!r}: {loss.__name__} needs scores of a teacher, which neither BEIR directories nor pairs have; "
        "give it a table of query, positive, negatives and scores, as `rerank-training mine` writes them"
    )


def _groups(examples: Sequence[Example]) -> list[Group]:
    found: dict[str, Group] = {}
    for example in examples:
        _, right, wrong = found.setdefault(example.query, (example.query, [], []))
        documents = right if example.label > 0 else wrong
        if example.document not in documents:
            documents.append(example.document)
    # Queries of the same words are one: what is right for one of them is wrong for none.
    return [(query, right, [one for one in wrong if one not in right]) for query, right, wrong in found.values()]


def _lists(examples: Sequence[Example], name: str) -> Dataset:
    groups = _groups(examples)
    if not any(right and wrong for _, right, wrong in groups):
        raise DataError(
            f"dataset {name!r}: no query has both a right and a wrong document, so lists have no order to learn; raise "
            "`count` of its negatives, or correct its labels"
        )
    return Dataset.from_dict(
        {
            "query": [query for query, _, _ in groups],
            "documents": [[*right, *wrong] for _, right, wrong in groups],
            "labels": [[1.0] * len(right) + [0.0] * len(wrong) for _, right, wrong in groups],
        }
    )


def _tuples(examples: Sequence[Example], count: int, name: str) -> Dataset:
    columns: dict[str, list[Any]] = {"query": [], "positive": []}
    columns |= {f"negative_{i}": [] for i in range(1, count + 1)}
    for query, right, wrong in _groups(examples):
        if right and len(wrong) < count:
            raise DataError(
                f"dataset {name!r}: query {query!r} has {len(wrong)} of the {count} negatives that every row needs; "
                "lower `count` of its negatives, or choose their kind 'mixed' or 'random'"
            )
        for document in right:
            for column, value in zip(columns.values(), (query, document, *wrong[:count]), strict=True):
                column.append(value)
    if not columns["query"]:
        raise DataError(f"dataset {name!r}: has no right answer, and these are what the loss learns from; add some")
    return Dataset.from_dict(columns)
