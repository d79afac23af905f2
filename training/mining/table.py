"""The problem that a `datasets.Dataset` of pairs poses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.mining.positives import Problem, Texts, problem_from_pairs


def column_names(dataset: Any, anchor: str | None, positive: str | None) -> tuple[str, str]:
    """The columns of anchors and positives: the first two unless named. ValueError for names that do not fit."""
    columns = list(dataset.column_names)
    for option, name in (("anchor_column_name", anchor), ("positive_column_name", positive)):
        if name and name not in columns:
            raise ValueError(f"{option}: the dataset has no column {name!r}, only {', '.join(map(repr, columns))}.")
    if len(columns) < 2:
        raise ValueError(f"Mining needs a column of anchors and one of positives, the dataset has only {columns}.")
    chosen = anchor or columns[0], positive or columns[1]
    if chosen[0] == chosen[1]:
        raise ValueError(
            f"Column {chosen[0]!r} cannot hold both anchors and positives: give anchor_column_name and"
            " positive_column_name."
        )
    return chosen


def problem_of(dataset: Any, anchor: str, positive: str, corpus: Sequence[str] | None = None) -> Problem:
    """The problem of the two columns and the documents of `corpus`. ValueError without rows or texts."""
    if not len(dataset):
        raise ValueError("The dataset is empty: give one with at least one pair.")
    table = dataset.select_columns([anchor, positive]).with_format("arrow")[:]
    anchors, positives = (_checked(table.column(name), f"column {name!r}") for name in (anchor, positive))
    problem = problem_from_pairs(anchors, positives, None if corpus is None else _corpus(corpus))
    pa.default_memory_pool().release_unused()  # what comparing the texts took, before embeddings take more
    return problem


def _corpus(corpus: Sequence[str]) -> Texts:
    if isinstance(corpus, pa.Array | pa.ChunkedArray):
        return _checked(corpus, "corpus")
    texts = list(corpus)
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise ValueError(f"corpus: row {wrong} is {texts[wrong]!r}, not a text; leave such rows out.")
    return pa.array(texts, type=pa.large_string())


def _checked(texts: Texts, name: str) -> Texts:
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise ValueError(f"{name} holds values of the type {texts.type}, not texts; one text per row is needed.")
    if texts.null_count:
        row = int(np.argmax(pc.is_null(texts).to_numpy()))
        raise ValueError(f"{name}: row {row} has no text; leave such rows out, as with dataset.filter.")
    return texts
