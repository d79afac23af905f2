"""Question-answer pairs in JSON lines: {query, answer}, optionally with a label and a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.data.lines import find, read_objects, require_content, text_of
from training.data.splits import chosen_rows, parse_split
from training.errors import DataError


@dataclass(frozen=True, slots=True)
class Pair:
    """A query with one document; `relevant` is False for a pair that people marked as wrong."""

    query: str
    document: str
    relevant: bool


def read_pairs(path: Path, split: str) -> list[Pair]:
    """The pairs of a file; rows whose own `split` column names another split are left out.

    `split` may be a slice of them: train[:1000], or [:1000] for the same. A `label` column of 0 marks a wrong pair, 1
    or no such column a right one. Raises DataError.
    """
    path = find(path)
    name, part = parse_split(split, str(path))
    name = name or "train"
    require_content(path)
    pairs = []
    for number, row in read_objects(path):
        if row.get("split", name) != name:
            continue
        label = row.get("label", 1)
        if label not in (0, 1):
            raise DataError(f"{path}, line {number}: column 'label' is {label!r}; it must be 0 or 1")
        pairs.append(Pair(text_of(row, "query", path, number), text_of(row, "answer", path, number), label == 1))
    if not pairs:
        raise DataError(f"{path}: no row of split {split!r}; check the split in the recipe")
    return [pairs[i] for i in chosen_rows(len(pairs), part, str(path), split)]
