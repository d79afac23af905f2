"""Splits as users write them: a name, a slice or both."""

from __future__ import annotations

import re

from training.errors import DataError

Slice = tuple[str | None, str | None]
"""Where it begins and ends: row numbers, or shares with a per cent sign; None is the first and the last row."""
_SPLIT = re.compile(r"(?P<name>[^\[\]]*)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def parse_split(split: str | None, source: str) -> tuple[str, Slice | None]:
    """(name or "", slice or None) of "train", "[:1000]" or "test[10%:90%]". Raises DataError naming the source."""
    if not split:
        return "", None
    match = _SPLIT.fullmatch(split.strip())
    if match is None:
        raise DataError(f"{source}: split {split!r} cannot be read; write 'train', '[:1000]' or 'train[10%:90%]'")
    return match["name"].strip(), (match["start"], match["stop"]) if "[" in split else None


def chosen_rows(count: int, part: Slice | None, source: str, split: str | None) -> range:
    """Which of `count` rows a slice holds. Raises DataError if it holds none."""
    rows = range(count) if part is None else range(count)[slice(*(_position(bound, count) for bound in part))]
    if not rows:
        raise DataError(f"{source}: split {split!r} holds none of the {count} rows; correct its bounds")
    return rows


def _position(bound: str | None, rows: int) -> int | None:
    if bound is None:
        return None
    return round(int(bound[:-1]) / 100 * rows) if bound.endswith("%") else int(bound)
