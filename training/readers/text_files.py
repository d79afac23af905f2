"""Lines of plain or gzipped text files."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")


def open_text(path: str | Path) -> IO[str]:
    """Opens UTF-8 text for reading; a name that ends in `.gz` is decompressed."""
    path = Path(path)
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def lines(file: Iterable[str]) -> Iterator[str]:
    """The lines of an open file without their line ends."""
    return (line.rstrip("\r\n") for line in file)


def first(items: Iterable[T], count: int) -> Iterator[T]:
    """The first `count` items; all of them if `count` is 0, the readers' word for "no limit"."""
    return islice(items, count if count > 0 else None)
