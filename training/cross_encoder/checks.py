"""Finds data that cannot be trained on before the first step, and says which dataset, column and row it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from training.cross_encoder.columns import LABEL_COLUMNS, RESERVED
from training.cross_encoder.data_blocks import is_transformed, seen_columns, stored_blocks, to_table
from training.cross_encoder.needs import Data, Needs, check_block, check_columns, shown
from training.cross_encoder.row_errors import TrainingDataError

STREAMED_ROWS = 16
"""Rows of a stream looked at before training; `RowChecks` look at the others as they come."""
TRANSFORMED_ROWS = 10_000
"""The same of a dataset whose rows a function of the user's makes, which may be slow."""


def check_column_names(dataset: Any, words: str) -> None:
    """Raises ValueError for columns whose names the trainer itself uses."""
    if reserved := sorted(set(dataset.column_names or ()) & RESERVED):
        raise ValueError(
            f"{words}: the column names {reserved} are invalid, they are reserved for internal use; rename them with "
            "dataset.rename_column"
        )


def check_data(dataset: Any, words: str, loss: Any, num_labels: int, valid: tuple[str, ...] = LABEL_COLUMNS) -> None:
    """Raises TrainingDataError if `dataset` (one, or a stream) does not fit `loss` and a model of `num_labels`.

    `words` begin the message, as in "training dataset 'nli'". Losses that declare nothing are not checked. All stored
    rows are looked at, of streams and of what a user's own transform makes the first ones: see `RowChecks`.
    """
    needs = Needs.of(loss)
    if needs is None:
        return
    check_outputs(needs, words, num_labels)
    if not hasattr(dataset, "__len__") or is_transformed(dataset):
        if rows := first_rows(dataset):
            RowChecks(needs, words, num_labels, valid)(rows, range(len(rows)))
        return
    data = Data.of(words, seen_columns(dataset), valid)
    check_columns(needs, data)
    for block, numbers in stored_blocks(dataset):
        check_block(needs, data, block, numbers, num_labels)


def first_rows(dataset: Any) -> list[Mapping[str, Any]]:
    """The first rows of a stream, or of a dataset whose rows are made when they are asked for."""
    if not hasattr(dataset, "__len__"):
        return list(islice(dataset, STREAMED_ROWS))
    columns = dataset[:TRANSFORMED_ROWS]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@dataclass(slots=True)
class RowChecks:
    """Raises TrainingDataError for rows that do not fit, when they come: those of streams are not known before."""

    needs: Needs
    words: str
    num_labels: int
    valid: tuple[str, ...]
    columns: tuple[str, ...] = ()
    """Those of the first row that came; all should have them."""

    def __call__(self, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> None:
        """Looks at `rows`, the `numbers`-th of their dataset."""
        self.columns = self.columns or tuple(name for name in rows[0] if name not in RESERVED)
        data = Data.of(self.words, self.columns, self.valid)
        check_columns(self.needs, data)
        for row, number in zip(rows, numbers, strict=True):
            self._check_names(data, row, number)
        try:
            self._check(data, rows, numbers)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # of different kinds: each by itself
            for row, number in zip(rows, numbers, strict=True):
                self._check_mixed(data, row, number)
            self._check_labels(data, rows, numbers)

    def _check_names(self, data: Data, row: Mapping[str, Any], number: int) -> None:
        names = tuple(name for name in row if name not in RESERVED)
        if names == self.columns:
            return
        content = f". The row is {shown(row)}"
        if lost := [name for name in self.columns if name not in row]:
            raise data.error(lost[0], "is missing", number, content)
        if new := [name for name in names if name not in self.columns]:
            raise data.error(new[0], "is one that the first row has not: give all rows the same", number, content)
        order = f"comes first, unlike in the first row: give all rows the columns {list(self.columns)} in this order"
        raise data.error(names[0], order, number, content)

    def _check(self, data: Data, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> None:
        check_block(self.needs, data, to_table(rows, data.columns), numbers, self.num_labels, rows)

    def _check_mixed(self, data: Data, row: Mapping[str, Any], number: int) -> None:
        try:
            self._check(data, [row], [number])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TrainingDataError(
                f"{data.words}, row {number}: has a list with values of different kinds, or a value that is neither "
                f"text nor number ({error}): mend or drop such rows with dataset.map. The row is {shown(row)}"
            ) from error

    def _check_labels(self, data: Data, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> None:
        if self.needs.labels == "none" or data.label is None:
            return
        lists = [isinstance(row[data.label], list | tuple) for row in rows]
        if any(lists) and not all(lists):
            i = lists.index(not lists[0])
            problem = "is a list, unlike those before it" if lists[i] else "is no list, unlike those before it"
            raise data.error(data.label, f"{problem}: give all rows labels of one kind", numbers[i])


def row_checks(loss: Any, words: str, num_labels: int, valid: tuple[str, ...] = LABEL_COLUMNS) -> RowChecks | None:
    """What looks at the rows for `loss` as they come; None for a loss that takes what it likes."""
    needs = Needs.of(loss)
    return None if needs is None else RowChecks(needs, words, num_labels, valid)


def check_outputs(needs: Needs, words: str, num_labels: int) -> None:
    """Raises TrainingDataError if the model has the wrong number of labels for the loss of a dataset."""
    if needs.outputs == 1 and num_labels != 1:
        raise TrainingDataError(
            f"{words}: {needs.loss} needs a model with 1 output label, this one has {num_labels}: load it with "
            "num_labels=1, or take CrossEntropyLoss for classes"
        )
    if needs.outputs == ">1" and num_labels < 2:
        raise TrainingDataError(
            f"{words}: {needs.loss} needs a model with more than 1 output label, this one has {num_labels}: load it "
            "with num_labels=<number of classes>"
        )
