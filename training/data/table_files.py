"""Readers of table files: Arrow does the work, texts stay texts, and errors point at the row or column."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from datasets import Dataset

from training.data.lines import read_objects
from training.errors import DataError

BLOCK_BYTES = 1 << 26
"""Arrow wants the longest line to fit into a block."""


def read(path: Path, kind: str) -> Dataset:
    """The whole file. Raises DataError."""
    try:
        table = READERS[kind](path)
        return Dataset(_plain(table))
    except DataError:
        raise
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as {kind} ({error}); correct the file, or give its `format`"
        ) from error


def _csv(path: Path, delimiter: str = ",") -> pa.Table:
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)

    def read(**options: Any) -> pa.Table:
        block = pa.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=options.pop("use_threads", True))
        return pa.csv.read_csv(path, read_options=block, parse_options=parse, **options)

    try:
        table = read()
    except pa.ArrowInvalid:
        table = read(use_threads=False)  # fails again, but one thread knows the row
    if types := _dates_as_text(table.schema):
        table = read(convert_options=pa.csv.ConvertOptions(column_types=types))
    return table


def _tsv(path: Path) -> pa.Table:
    return _csv(path, "\t")


def _json_lines(path: Path) -> pa.Table:
    block = pa.json.ReadOptions(block_size=BLOCK_BYTES)
    try:
        table = pa.json.read_json(path, read_options=block)
        if types := _dates_as_text(table.schema):
            parse = pa.json.ParseOptions(explicit_schema=pa.schema(list(types.items())))
            table = pa.json.read_json(path, read_options=block, parse_options=parse)
    except pa.ArrowException:  # Arrow's message has no line; this reader's errors have
        return table_of([row for _, row in read_objects(path)], path)
    return table


def _json(path: Path) -> pa.Table:
    """A list of objects, an object of columns, or the list in an object's only list field; or JSON lines."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
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


def _dates_as_text(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The types to read columns with that Arrow took for dates: a text that looks like one is still a text."""
    wanted = {field.name: _text_for_dates(field.type) for field in schema}
    return {name: kind for name, kind in wanted.items() if kind != schema.field(name).type}


def _text_for_dates(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_text_for_dates(kind.value_type))
    return kind


def _plain(table: pa.Table) -> pa.Table:
    """Without the categories of pandas, which are texts, and without its notes on types."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            values = table.column(index).cast(field.type.value_type)
            table = table.set_column(index, field.name, values)
    return table.replace_schema_metadata(None)
