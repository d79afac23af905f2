"""What a data set of a recipe is read from, and the digests that tell whether it is still the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import datasets
import pyarrow as pa

from app.model.manifest import digest
from training.data.lines import find, read_objects
from training.errors import DataError
from training.recipe import Dataset
from training.recipe_sections import Source

Kind = Literal["beir", "pairs", "table"]
SAVED_BY_DATASETS = ("dataset_dict.json", "dataset_info.json", "state.json")


def kind_of(dataset: Dataset, root: Path) -> Kind:
    """What the recipe says it is, else what it looks like."""
    if dataset.kind is not None:
        return dataset.kind
    path = root / dataset.path
    if path.is_dir() and not holds_table(dataset, root):
        return "beir"
    if dataset.negatives is not None:
        return "pairs"
    return "table" if dataset.is_table or path.is_dir() or other_file(path) or not holds_pairs(path) else "pairs"


def holds_table(source: Source, root: Path) -> bool:
    """Whether a key says so, or the path is a file or a directory that `datasets` saved, and not a BEIR directory."""
    path = root / source.path
    return source.is_table or path.is_file() or any((path / name).is_file() for name in SAVED_BY_DATASETS)


def holds_pairs(path: Path) -> bool:
    """Whether the first line of a file of JSON lines has a query and its answer.

    Raises DataError without a file, and where the line has scores or negatives too: pairs would lose them, a table
    would go without negatives that are mined.
    """
    _, first = next(read_objects(find(path)), (0, {}))
    if not first:
        return True
    if not {"query", "answer"} <= first.keys():
        return False
    for name in first:
        if name in {"labels", "score", "scores"} or name.startswith("negative"):
            raise DataError(
                f'{path}: has queries and answers, and a column {name!r} too; set kind = "table" to train on its '
                'columns, or kind = "pairs" to leave it out and mine negatives'
            )
    return True


def other_file(path: Path) -> bool:
    """Whether a file's name says that it holds no JSON lines."""
    return path.name.removesuffix(".gz").rpartition(".")[2] in {"csv", "tsv", "json", "parquet", "arrow", "feather"} | {
        *("db", "sqlite", "sqlite3")
    }


def digests(dataset: Dataset, root: Path, rows: datasets.Dataset) -> dict[str, str]:
    """SHA-256 of each file that a set is read from; of what lies in no file, of its rows."""
    path = root / dataset.path
    if dataset.is_on_hub or dataset.connection is not None:
        return {"rows": rows_digest(rows)}
    kind = kind_of(dataset, root)
    if kind == "beir":
        names = ("corpus.jsonl", "queries.jsonl", f"qrels/{dataset.split}.tsv")
        files = [find(path / name) for name in names]
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("cache-"))
        return {file.relative_to(path).as_posix(): str(digest(file)["sha256"]) for file in files}
    else:
        files = [find(path)]
    return {file.name: str(digest(file)["sha256"]) for file in files}


def rows_digest(rows: datasets.Dataset) -> str:
    """SHA-256 over names, types and values of all rows, however they are stored."""
    hashed = hashlib.sha256()
    table = rows.with_format("arrow")
    for start in range(0, len(rows), 10_000):
        block: pa.Table = table[start : start + 10_000]
        hashed.update(str(block.schema.remove_metadata()).encode())
        hashed.update(repr(block.to_pylist()).encode())
    return hashed.hexdigest()
