"""Columns of text out of files of any size, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from training.data import table_files
from training.data.lines import find, read_objects
from training.data.parts import is_pattern, matching
from training.data.tables import HUB_PREFIX, SUFFIXES, load_table
from training.errors import DataError
from training.mine_recipe import TextFile

ROWS_PER_BLOCK = 8192
STREAMED = ("csv", "tsv", "jsonl", "parquet", "arrow")


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a file: values by column, and what an error calls each row."""

    source: str
    columns: dict[str, list[Any]]
    numbers: Sequence[int]
    unit: str

    def __len__(self) -> int:
        return len(self.numbers)

    def only(self, column: str, value: str) -> Block:
        """The rows in which a column has that value."""
        rows = [row for row, own in enumerate(self.columns[column]) if own == value]
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return Block(self.source, columns, [self.numbers[row] for row in rows], self.unit)

    def where(self, row: int) -> str:
        """For example "pairs.jsonl, line 12"."""
        return f"{self.source}, {self.unit} {self.numbers[row]}"

    def texts(self, name: str) -> list[str | None]:
        """A column of texts. Raises DataError naming the row for anything but text or nothing."""
        values = self.columns[name]
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                raise DataError(
                    f"{self.where(row)}: column {name!r} is {type(value).__name__}, but text is needed; correct it"
                )
            if value is not None and not value.isascii() and not _whole(value):
                raise DataError(f"{self.where(row)}: column {name!r} holds half of a character; write it in UTF-8")
        return values


def files_of(source: TextFile, root: Path) -> list[Path]:
    """The files that a source names, those of a pattern by name. Raises DataError where there is none."""
    path = root / source.path
    if not is_pattern(source.path.as_posix()):
        return [path] if path.is_dir() else [find(path)]
    found = matching(path)
    if not found:
        raise DataError(f"{path}: no file fits the pattern; correct the path, or data_root in the recipe")
    return found


def read_blocks(source: TextFile, root: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Block]:
    """The needed and, where there are such, the optional columns. Raises DataError naming file, row and remedy."""
    if source.is_on_hub:
        yield from _of_table(str(source.path), source, needed, optional)
        return
    for path in files_of(source, root):
        kind = source.format or SUFFIXES.get(_suffix(path), "")
        if path.is_file() and kind in STREAMED:
            columns = needed if source.split is None else (*needed, "split")
            blocks = _streamed(path, kind, columns, optional)
            yield from blocks if source.split is None else (block.only("split", source.split) for block in blocks)
        else:
            yield from _of_table(str(path), source, needed, optional)


def _streamed(path: Path, kind: str, needed: Sequence[str], optional: Sequence[str]) -> Iterator[Block]:
    if kind == "jsonl":
        yield from _of_lines(path, needed, optional)
        return
    try:
        yield from _of_batches(str(path), _batches(path, kind, needed, optional), needed, optional)
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as {kind} ({error}); correct the file, or give its `format`"
        ) from error


def _of_lines(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[Block]:
    rows = read_objects(path)
    present: list[str] = []
    while block := list(islice(rows, ROWS_PER_BLOCK)):
        for number, row in block:
            _require(f"{path}, line {number}", needed, row)
        present = [name for name in optional if name in present or any(name in row for _, row in block)]
        columns = {name: [row.get(name) for _, row in block] for name in (*needed, *present)}
        yield Block(str(path), columns, [number for number, _ in block], "line")


def _batches(path: Path, kind: str, needed: Sequence[str], optional: Sequence[str]) -> Iterator[pa.RecordBatch]:
    names = [*needed, *optional]
    if kind == "parquet":
        file = pa.parquet.ParquetFile(path, memory_map=True)
        known = file.schema_arrow.names
        _require(str(path), needed, known)
        yield from file.iter_batches(ROWS_PER_BLOCK, columns=[name for name in names if name in known])
    elif kind == "arrow":
        yield from table_files.read(path, kind).data.to_batches(ROWS_PER_BLOCK)  # mapped, not read
    else:
        parse = pa.csv.ParseOptions(delimiter="," if kind == "csv" else "\t", newlines_in_values=True)
        text = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        block = pa.csv.ReadOptions(block_size=table_files.BLOCK_BYTES)
        yield from pa.csv.open_csv(path, read_options=block, parse_options=parse, convert_options=text)


def _of_table(name: str, source: TextFile, needed: Sequence[str], optional: Sequence[str]) -> Iterator[Block]:
    table = load_table(name, format=source.format, split=source.split, sql=source.sql)
    rows = table.with_format("arrow")
    batches = (
        batch
        for start in range(0, len(table), ROWS_PER_BLOCK)
        for batch in rows[start : start + ROWS_PER_BLOCK].to_batches()
    )
    yield from _of_batches(name.removeprefix(HUB_PREFIX), batches, needed, optional)


def _of_batches(
    source: str, batches: Iterable[pa.RecordBatch], needed: Sequence[str], optional: Sequence[str]
) -> Iterator[Block]:
    start = 0
    for batch in batches:
        names = batch.schema.names
        _require(source, needed, names)
        columns = {name: batch.column(name).to_pylist() for name in (*needed, *optional) if name in names}
        yield Block(source, columns, range(start, start + batch.num_rows), "row")
        start += batch.num_rows


def _require(where: str, needed: Sequence[str], names: Collection[str]) -> None:
    missing = next((name for name in needed if name not in names), None)
    if missing is None:
        return
    known = ", ".join(repr(name) for name in names)
    remedy = "remove the key `split`" if missing == "split" else "name the right one in the recipe"
    raise DataError(f"{where}: no column {missing!r}; it has {known}; {remedy}")


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
