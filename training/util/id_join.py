"""Texts in place of ids: a batch of ids is joined with the tables that hold the texts when it is read."""

from __future__ import annotations

import ast
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from training.cross_encoder.columns import LABEL_COLUMNS
from training.util.id_index import IdIndex

if TYPE_CHECKING:
    from datasets import Dataset

    Lookup: TypeAlias = "Dataset | tuple[Dataset, str] | tuple[Dataset, str, str]"

logger = logging.getLogger(__name__)
Format = Literal["columns", "lists"]
PLAIN = "Call dataset.with_format(None) before applying the transform."


def resolve_ids(
    lookups: dict[str, Lookup],
    keep_columns: Sequence[str] = LABEL_COLUMNS,
    max_list_length: int | None = None,
    output_format: Format = "columns",
) -> ResolveIds:
    """A function for `dataset.set_transform`, or `dataset.map(..., batched=True)`, from batches of ids to texts.

    `lookups` gives for each column of ids the dataset with the texts, and where they are not clear its columns: of ids
    (the only one called "id" or "..._id"), and of texts (the only other one). Columns come out in that order, named
    without "_id", then `keep_columns` where there are any; the rest is dropped. Lists of ids become columns `name_1`,
    `name_2` and so on, or with `output_format="lists"` one column of lists under the plural of the name; lists, kept
    ones included, are cut to their first `max_list_length`. Lists may be written as strings.

    Raises ValueError or TypeError for arguments that do not fit together. The function raises KeyError for an id that
    is in no row, ValueError for lists of different length that should become columns.
    """
    if isinstance(keep_columns, str):
        raise TypeError(f"keep_columns must be a list of column names, got the string {keep_columns!r}.")
    if max_list_length is not None and max_list_length < 1:
        raise ValueError(f"max_list_length must be a positive integer or None, got {max_list_length}.")
    if output_format not in ("columns", "lists"):
        raise ValueError(f'output_format must be "columns" or "lists", got {output_format!r}.')
    tables: dict[tuple[int, str], IdIndex] = {}
    joins = {column: _join(column, lookup, tables) for column, lookup in lookups.items()}
    return ResolveIds(joins, tuple(keep_columns), max_list_length, output_format)


@dataclass(frozen=True, eq=False)
class Join:
    """One column of ids: where its texts are."""

    column: str
    texts: Any
    text_column: str
    index: IdIndex

    def texts_of(self, ids: list[Any]) -> list[Any]:
        """The text of each id. KeyError for one that is in no row."""
        try:
            rows = self.index.rows(ids)
        except TypeError as error:
            raise TypeError(f"Column {self.column!r} holds ids that cannot be looked up: {error}. {PLAIN}") from None
        except KeyError as error:
            raise KeyError(
                f"ID {error.args[0]!r} of column {self.column!r} is in no row of its lookup dataset"
            ) from None
        return list(self.texts[rows][self.text_column]) if rows else []


@dataclass(frozen=True, eq=False)
class ResolveIds:
    """Turns batches of ids into batches of texts; can be sent to worker processes."""

    joins: dict[str, Join]
    keep_columns: tuple[str, ...]
    max_list_length: int | None
    output_format: Format

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of texts, then those that are kept."""
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"resolve_ids reads batches as dictionaries of columns, got {type(batch).__name__}. {PLAIN}"
            )
        out: dict[str, Any] = {}
        for join in self.joins.values():
            for name, values in self._resolved(join, batch[join.column]).items():
                _add(out, name, values)
        for name in self.keep_columns:
            if name in batch:
                values = _parsed(batch[name], name)
                _add(out, name, self._cut(values) if _is_nested(values) else values)
        return out

    def _resolved(self, join: Join, column: Any) -> dict[str, list[Any]]:
        if not isinstance(column, list):
            raise TypeError(f"Column {join.column!r} is no list but {type(column).__name__}. {PLAIN}")
        rows = _parsed(column, join.column)
        if not _is_nested(rows):
            return {_singular(join.column): join.texts_of(rows)}
        rows = self._cut(rows)
        texts = join.texts_of([key for row in rows for key in row])
        if self.output_format == "columns":
            count = _common_length(rows, join.column)
            return {f"{_singular(join.column)}_{i + 1}": texts[i::count] for i in range(count)}
        ends = [0]
        for row in rows:
            ends.append(ends[-1] + len(row))
        return {_plural(join.column): [texts[start:end] for start, end in pairwise(ends)]}

    def _cut(self, rows: Any) -> Any:
        return rows if self.max_list_length is None else [row[: self.max_list_length] for row in rows]


def _join(column: str, lookup: Any, tables: dict[tuple[int, str], IdIndex]) -> Join:
    import datasets

    parts = lookup if isinstance(lookup, tuple) else (lookup,)
    if not 1 <= len(parts) <= 3 or (isinstance(lookup, tuple) and len(parts) == 1):
        raise ValueError(f"lookups[{column!r}] must be a Dataset, (dataset, id_col) or (dataset, id_col, value_col).")
    if isinstance(parts[0], datasets.DatasetDict):
        raise TypeError(f"lookups[{column!r}] is a DatasetDict: choose a split, as in dataset_dict['train'].")
    if not isinstance(parts[0], datasets.Dataset):
        raise TypeError(f"lookups[{column!r}] must hold a Dataset, got {type(parts[0]).__name__}.")
    plain = parts[0].with_format(None)
    id_column = _id_column(plain, column, *parts[1:2])
    text_column = _text_column(plain, column, id_column, *parts[2:3])
    key = (id(parts[0]), id_column)
    if key not in tables:
        ids = plain.select_columns([id_column]).with_format("arrow")[:].column(id_column)
        tables[key] = IdIndex(ids)
        if len(tables[key]) < len(ids):
            logger.warning(
                "lookups[%r]: ids of %r stand more than once; each has the text of its last row.", column, id_column
            )
    return Join(column, plain.select_columns([text_column]), text_column, tables[key])


def _id_column(table: Any, column: str, given: str | None = None) -> str:
    if given is not None:
        return _known(table, column, "id_col", given)
    found = [name for name in table.column_names if name == "id" or name.endswith("_id")]
    if len(found) != 1:
        raise ValueError(
            f"lookups[{column!r}]: one column called 'id' or '..._id' is needed, found {found or 'none'} in"
            f" {table.column_names}. Pass (dataset, id_col)."
        )
    return str(found[0])


def _text_column(table: Any, column: str, id_column: str, given: str | None = None) -> str:
    if given is not None:
        return _known(table, column, "value_col", given)
    found = [name for name in table.column_names if name != id_column]
    if len(found) != 1:
        raise ValueError(
            f"lookups[{column!r}]: one column beside {id_column!r} is needed, found {found or 'none'}."
            " Pass (dataset, id_col, value_col)."
        )
    return str(found[0])


def _known(table: Any, column: str, what: str, name: str) -> str:
    if name not in table.column_names:
        raise ValueError(f"lookups[{column!r}]: {what} {name!r} is none of its columns {table.column_names}.")
    return name


def _singular(column: str) -> str:
    return next((column.removesuffix(end) for end in ("_ids", "_id", "_idx") if column.endswith(end)), column)


def _plural(column: str) -> str:
    if column.endswith("y_ids"):
        return column.removesuffix("y_ids") + "ies"
    return column.removesuffix("_ids") + "s" if column.endswith("_ids") else _singular(column)


def _parsed(values: Any, name: str) -> Any:
    """The rows as lists where they are lists written as strings. ValueError for a row that is none."""
    if not (len(values) and isinstance(values[0], str) and values[0].lstrip().startswith("[")):
        return values
    rows = []
    for number, text in enumerate(values):
        try:
            row = ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"Column {name!r} holds lists as strings, but row {number} is {text!r}: {error}") from None
        if not isinstance(row, list | tuple):
            raise ValueError(f"Column {name!r} holds lists as strings, but row {number} is {text!r}")
        rows.append(list(row))
    return rows


def _is_nested(values: Any) -> bool:
    return len(values) > 0 and hasattr(values[0], "__len__") and not isinstance(values[0], str | bytes)


def _common_length(rows: list[Any], name: str) -> int:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1 or not lengths[0]:
        raise ValueError(
            f"Lists of column {name!r} have the lengths {lengths}, but each row must give as many columns, at least 1."
            ' Set max_list_length, or output_format="lists", or drop empty rows.'
        )
    return int(lengths[0])


def _add(out: dict[str, Any], name: str, values: Any) -> None:
    if name in out:
        raise ValueError(f"Two columns would be called {name!r}: rename one of the columns that they come from.")
    out[name] = values
