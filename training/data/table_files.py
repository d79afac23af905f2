"""Readers of table files: Arrow does the work, texts stay texts, and errors point at the row or column."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from datasets import Dataset

from training.data.lines import ENCODING, not_utf8, read_objects, require_content
from training.errors import DataError

BLOCK_BYTES = 1 << 26
"""Arrow wants the longest line to fit into a block."""
EXACT = 2**53
"""Up to here each whole number is a float."""
IsText = Callable[[pa.DataType], bool]


DELIMITERS = {"csv": ",", "tsv": "\t"}
"""Of formats whose values have only the types that a reader finds in them."""


def read(path: Path, kind: str, as_written: bool = False) -> Dataset:
    """The whole file; `as_written` makes texts of values that have no types. Raises DataError."""
    require_content(path)
    try:
        table = _csv(path, DELIMITERS[kind], True) if as_written and kind in DELIMITERS else READERS[kind](path)
        _check_names(table.column_names, path)
        return Dataset(_plain(table))
    except DataError:
        raise
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in str(error):
            raise not_utf8(str(path), error) from error
        raise DataError(
            f"{path}: cannot be read as {kind} ({error}); correct the file, or give its `format`"
        ) from error


def _csv(path: Path, delimiter: str = DELIMITERS["csv"], as_written: bool = False) -> pa.Table:
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)

    def read(types: Mapping[str, pa.DataType], use_threads: bool = True) -> pa.Table:
        block = pa.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=use_threads)
        convert = pa.csv.ConvertOptions(column_types=types)
        return pa.csv.read_csv(path, read_options=block, parse_options=parse, convert_options=convert)

    types: dict[str, pa.DataType] = {}
    try:
        table = read(types)
        if types := _read_as_text(table.schema, _is_no_text if as_written else _is_date_or_bytes):
            table = read(types)
    except pa.ArrowInvalid:
        table = read(types, use_threads=False)  # fails again, but one thread knows the row
    return table


def _tsv(path: Path) -> pa.Table:
    return _csv(path, DELIMITERS["tsv"])


def _json_lines(path: Path) -> pa.Table:
    block = pa.json.ReadOptions(block_size=BLOCK_BYTES)
    try:
        table = pa.json.read_json(path, read_options=block)
        if types := _read_as_text(table.schema, pa.types.is_temporal):
            parse = pa.json.ParseOptions(explicit_schema=pa.schema(list(types.items())))
            table = pa.json.read_json(path, read_options=block, parse_options=parse)
        table.validate(full=True)  # Arrow's reader takes texts in any encoding
        if any(_has_rounded(column) for column in table.columns):
            return table_of([row for _, row in read_objects(path)], path)
    except pa.ArrowException:  # Arrow's message has no line; this reader's errors have
        return table_of([row for _, row in read_objects(path)], path)
    return table


def _json(path: Path) -> pa.Table:
    """A list of objects, an object of columns, or the list in an object's only list field; or JSON lines."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding=ENCODING) as file:
        text = file.read()
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # more than one value: these are lines
            return _json_lines(path)
        raise
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        if len(lists) == len(value) and lists and not all(isinstance(row, dict) for row in lists[0]):
            return table_of_columns(value, path)
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(f"{path}: holds no list of objects; write one object per row, or JSON lines")
    return table_of(value, path)


def _parquet(path: Path) -> pa.Table:
    return pa.parquet.read_table(path, memory_map=True)


def _arrow(path: Path) -> pa.Table:
    """Either of Arrow's formats, mapped into memory."""
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    "csv": _csv,
    "tsv": _tsv,
    "json": _json,
    "jsonl": _json_lines,
    "parquet": _parquet,
    "arrow": _arrow,
}


def table_of(rows: Sequence[Mapping[str, Any]], source: object) -> pa.Table:
    """Of objects; a key that is missing in some of them is None there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return table_of_columns({name: [row.get(name) for row in rows] for name in names}, source)


def table_of_columns(columns: Mapping[str, Iterable[Any]], source: object) -> pa.Table:
    """Raises DataError naming the column, and the first row whose value does not fit, where types are mixed."""
    arrays = {}
    for name, values in columns.items():
        values = list(values)
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            row = _first_misfit(values)
            if isinstance(error, OverflowError):
                raise DataError(
                    f"{source}, row {row + 1}: column {name!r} holds a number of more than 64 bits; write it as a text"
                ) from error
            raise DataError(
                f"{source}, row {row + 1}: column {name!r} holds {type(values[row]).__name__} "
                f"after values of another type ({error}); write one type in a column"
            ) from error
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) > 1:
        raise DataError(f"{source}: its columns have different lengths; write as many values in each")
    return pa.table(arrays)


def _first_misfit(values: Sequence[Any]) -> int:
    """The row at which the column stops being of one type, found by halving."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pa.array(values[:middle])
            low = middle
        except (pa.ArrowException, TypeError, OverflowError):
            high = middle
    return low


def _check_names(names: Sequence[str], path: Path) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: two columns have the name {twice!r}; rename one of them in the file")


def _has_rounded(column: pa.ChunkedArray) -> bool:
    """Whether numbers may have been whole ones that a float cannot hold, of which Arrow's reader made floats."""
    if pa.types.is_list(column.type):
        return _has_rounded(pc.list_flatten(column))
    if pa.types.is_struct(column.type):
        return any(_has_rounded(field) for field in column.flatten())
    return pa.types.is_floating(column.type) and (pc.max(pc.abs(column)).as_py() or 0) >= EXACT


def _read_as_text(schema: pa.Schema, is_text: IsText) -> dict[str, pa.DataType]:
    """The types to read columns with in which Arrow found something else, such as dates."""
    wanted = {field.name: (field.type, _changed(field.type, is_text)) for field in schema}
    return {name: new for name, (old, new) in wanted.items() if new != old}


def _is_date_or_bytes(kind: pa.DataType) -> bool:
    """What texts in CSV are taken for; the bytes are those that are no UTF-8."""
    return bool(pa.types.is_temporal(kind) or pa.types.is_binary(kind))


def _is_no_text(kind: pa.DataType) -> bool:
    return not pa.types.is_string(kind)


def _changed(kind: pa.DataType, is_text: IsText) -> pa.DataType:
    """A text for what `is_text` says is one, in lists too."""
    if is_text(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return _changed(kind.value_type, is_text)
    if pa.types.is_list(kind):
        return pa.list_(_changed(kind.value_type, is_text))
    if pa.types.is_large_list(kind):
        return pa.large_list(_changed(kind.value_type, is_text))
    return kind


def _plain(table: pa.Table) -> pa.Table:
    """Without the categories of pandas and the views of polars, which are texts, and without notes on types."""
    for index, field in enumerate(table.schema):
        kind = _changed(field.type, pa.types.is_string_view)
        if kind != field.type:
            table = table.set_column(index, field.name, table.column(index).cast(kind))
    return table.replace_schema_metadata(None)
