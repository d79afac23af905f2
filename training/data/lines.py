"""Reading line-oriented data files, plain or gzip'ed, with errors that point at the line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.errors import DataError

ENCODING = "utf-8-sig"
"""UTF-8, with the mark that some editors put before it or without."""


def find(path: Path) -> Path:
    """`path`, or `path` with .gz appended where only that exists. Raises DataError naming both."""
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path}: no such file, nor with .gz; check the path and data_root in the recipe")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without line end) of every non-empty line. Raises DataError."""
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding=ENCODING) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise not_utf8(f"{path}, after line {number}", error) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after line {number} ({error}); copy the file again") from error


def require_content(path: Path) -> None:
    """Raises DataError for a file without a byte."""
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty; write rows into it, or name another")


def not_utf8(where: str, error: Exception) -> DataError:
    """The error of a text file in another encoding."""
    return DataError(f"{where}: is not UTF-8 ({error}); convert it, as with iconv -f latin1 -t utf-8 OLD > NEW")


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line of a JSON-lines file. Raises DataError."""
    for number, line in read_lines(path):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error}); correct the line") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}, line {number}: holds {type(value).__name__}, not an object; correct the line")
        yield number, value


def text_of(row: dict[str, Any], column: str, path: Path, number: int) -> str:
    """A column that must hold text. Raises DataError naming file, line and column."""
    value = row.get(column)
    if not isinstance(value, str):
        found = f"is {type(value).__name__}" if column in row else "is missing"
        raise DataError(f"{path}, line {number}: column {column!r} {found}, but text is needed; correct the line")
    return value
