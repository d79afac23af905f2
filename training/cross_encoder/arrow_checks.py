"""Questions to the columns of an Arrow table, answered for all rows at once."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, as words behind the column's name, and in which row (None: in all of them)."""

    text: str
    row: int | None = None


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece."""
    found = column.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found


def is_list(kind: pa.DataType) -> bool:
    """Whether each row holds a list."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether each row holds a text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_integer(kind: pa.DataType) -> bool:
    """Whether each row holds an integer or a truth value."""
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether each row holds a number."""
    return is_integer(kind) or bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def list_lengths(column: pa.Array) -> Any:
    """Length of each row's list, shape (rows,); None where the rows hold no lists."""
    return pc.list_value_length(column).to_numpy(zero_copy_only=False) if is_list(column.type) else None


def text_problem(column: pa.Array) -> Problem | None:
    """The first row that is no text with something in it."""
    if (row := first(pc.is_null(column))) is not None:
        return Problem("is None", row)
    if not is_text(column.type):
        kind = "a list" if is_list(column.type) else str(column.type)
        return Problem(
            f"is {kind}, but a text is needed: choose the columns with dataset.select_columns (in a recipe: columns), "
            "or make texts of numbers with dataset.cast_column (in a recipe's table: quote them in JSON lines)"
        )
    row = first(blank(column))
    return None if row is None else Problem("is empty", row)


def text_list_problem(column: pa.Array) -> Problem | None:
    """The first row that is no list of texts, or a list that is or has something empty."""
    if (row := first(pc.is_null(column))) is not None:
        return Problem("is None", row)
    if not is_list(column.type):
        return Problem(f"is {column.type}, but a list of texts is needed: put the texts of a query into one list")
    if (row := first(pc.equal(pc.list_value_length(column), 0))) is not None:
        return Problem("has a list that is empty", row)
    problem = text_problem(pc.list_flatten(column))
    if problem is None or problem.row is None:
        return problem
    return Problem(f"has a text that {problem.text}", pc.list_parent_indices(column)[problem.row].as_py())


def number_problem(column: pa.Array) -> Problem | None:
    """The first row that is not a finite number, or a list of them."""
    if (row := first(pc.is_null(column))) is not None:
        return Problem("is None", row)
    if is_list(column.type):
        problem = number_problem(pc.list_flatten(column))
        if problem is None or problem.row is None:
            return problem
        return Problem(problem.text, pc.list_parent_indices(column)[problem.row].as_py())
    if not is_number(column.type):
        return Problem(f"is {column.type}")
    if not pa.types.is_floating(column.type):
        return None
    row = first(pc.invert(pc.is_finite(column)))
    return None if row is None else Problem(f"is {column[row].as_py()}", row)


def range_problem(column: pa.Array, lowest: float, highest: float, advice: str, besides: Any = None) -> Problem | None:
    """The first row with a number outside the range, other than `besides`."""
    if is_list(column.type):
        return None
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    outside = (values < lowest) | (values > highest)
    if besides is not None:
        outside &= values != besides
    row = first(pa.array(outside))
    return None if row is None else Problem(f"is {column[row].as_py()}, but {advice}", row)


def length_problem(lengths: Any, wanted: Any, texts: str) -> Problem | None:
    """The first row that has not as many labels as texts."""
    wrong = np.flatnonzero(lengths != wanted)
    if not len(wrong):
        return None
    row = int(wrong[0])
    return Problem(
        f"has {int(lengths[row])} labels for {int(wanted[row])} texts in column {texts!r}: give one label for each", row
    )


def fixed_length_problem(lengths: Any, allowed: Set[int], what: str) -> Problem | None:
    """The first row whose list has another length than one of `allowed`."""
    wrong = np.flatnonzero(~np.isin(lengths, sorted(allowed)))
    if not len(wrong):
        return None
    row = int(wrong[0])
    counts = " or ".join(map(str, sorted(allowed)))
    return Problem(f"has {int(lengths[row])} numbers, but should have {counts} {what}", row)


def blank(column: pa.Array) -> pa.Array:
    """Whether each text is empty or white space alone."""
    if pa.types.is_string_view(column.type):  # which Arrow's functions do not take
        column = column.cast(pa.large_string())
    return pc.or_(pc.equal(pc.binary_length(column), 0), pc.utf8_is_space(column))


def first(mask: pa.Array) -> int | None:
    """Position of the first true value."""
    position = pc.index(mask, pa.scalar(True)).as_py()
    return None if position < 0 else int(position)
