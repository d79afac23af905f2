"""Tables of training data, whatever they are stored in, as `datasets.Dataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

from training.data import table_files, table_sql
from training.data.splits import chosen_rows, parse_split
from training.data.urls import without_password
from training.errors import DataError

HUB_PREFIX = "hub:"
FORMATS = (*table_files.READERS, "saved", "sql", "hub")
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".db": "sql",
    ".sqlite": "sql",
    ".sqlite3": "sql",
}


def load_table(
    path_or_hub_id: str | Path,
    *,
    format: str | None = None,  # noqa: A002  # the word that data tools use
    split: str | None = None,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    sql: str | None = None,
    connection: Any = None,
    as_written: bool = False,
) -> Dataset:
    """The rows of a file, a saved directory, a database or a Hub dataset.

    `format` is one of FORMATS, else it follows from the file's suffix (before .gz). A Hub dataset is only asked for
    when it is written as "hub:owner/name" or "hub:owner/name:config", or with format "hub".
    `split` is a name, a slice or both: "train", "[:1000]", "test[10%:90%]"; a file is one split named "train".
    `columns` selects and orders columns, and renames them where it maps old names to new ones.
    `as_written` leaves the values of CSV and TSV files texts, also where they look like numbers.
    `sql` is a query; `connection` an open DB-API connection, a path of an SQLite file or a database URL.
    Raises DataError naming the source, the column or row, and the remedy.
    """
    source, kind = _kind_of(str(path_or_hub_id), format, connection)
    shown = without_password(source)
    if sql is not None and kind != "sql":
        raise DataError(f"{shown}: a query, but the format is {kind}; leave `sql` out, or give a database")
    name, part = parse_split(split, shown)
    table = _read(source, kind, name, sql, connection, as_written)
    if part is not None:
        table = table.select(chosen_rows(len(table), part, shown, split))
    if columns is not None:
        table = _choose(table, columns, shown)
    if not len(table):
        raise DataError(f"{shown}: no rows{f' in split {split!r}' if split else ''}; check the data and the split")
    return table


def is_untyped(path_or_hub_id: str, format: str | None = None) -> bool:  # noqa: A002  # as above
    """Whether values have only the types that a reader finds in them, as in CSV and TSV. Raises DataError."""
    return _kind_of(path_or_hub_id, format, None)[1] in table_files.DELIMITERS


def _kind_of(source: str, kind: str | None, connection: Any) -> tuple[str, str]:
    """(source without prefix, format)."""
    if source.startswith(HUB_PREFIX):
        return source.removeprefix(HUB_PREFIX), "hub"
    if kind is None:
        kind = _guess(source, connection)
    if kind not in FORMATS:
        raise DataError(f"{without_password(source)}: unknown format {kind!r}; it must be one of {', '.join(FORMATS)}")
    return source, kind


def _guess(source: str, connection: Any) -> str:
    path = Path(source)
    if connection is not None or "://" in source:
        return "sql"
    if path.is_dir():
        return "saved"
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    found = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if found is None and path.exists():
        raise DataError(f"{source}: the name does not tell the format; give `format`, one of {', '.join(FORMATS)}")
    if found is None:
        raise DataError(f"{source}: no such file or directory; a dataset of the Hub is written {HUB_PREFIX}{source}")
    return found


def _read(source: str, kind: str, split: str, sql: str | None, connection: Any, as_written: bool) -> Dataset:
    if kind == "hub":
        return _from_hub(source, split)
    if kind == "saved":
        return _from_disk(Path(source), split)
    if split not in ("", "train"):
        raise DataError(
            f"{without_password(source)}: no split {split!r}: a file or query is one split, 'train'; write a slice as "
            "'[:90%]'"
        )
    if kind == "sql":
        return table_sql.read(source, sql, connection)
    path = Path(source)
    if not path.is_file():
        raise DataError(f"{source}: no such file; check the path")
    return table_files.read(path, kind, as_written)


def _from_disk(path: Path, split: str) -> Dataset:
    try:
        found = load_from_disk(str(path))
    except Exception as error:  # whatever is wrong in there
        raise DataError(
            f"{path}: not a directory that datasets' save_to_disk wrote ({error}); name a file in it instead"
        ) from error
    return _one_split(found, str(path), split)


def _one_split(found: Dataset | DatasetDict, source: str, split: str) -> Dataset:
    if isinstance(found, Dataset):
        if split and str(found.split or "train") != split:
            raise DataError(f"{source}: no split {split!r}: it holds {str(found.split or 'train')!r} only")
        return found
    name = split or (next(iter(found)) if len(found) == 1 else "train")
    if name not in found:
        raise DataError(f"{source}: no split {name!r}; give `split`, one of {', '.join(found)}")
    return found[name]


def _from_hub(source: str, split: str) -> Dataset:
    from huggingface_hub import constants

    repository, _, config = source.partition(":")
    if constants.HF_HUB_OFFLINE:
        raise DataError(f"{source}: this process is offline (HF_HUB_OFFLINE); save the dataset to a directory first")
    try:
        found = load_dataset(repository, config or None)
    except Exception as error:  # no such dataset, no network, a config is needed: the Hub's words say which
        raise DataError(f"{source}: cannot be loaded from the Hub: {error}") from error
    return _one_split(found, source, split)


def _choose(table: Dataset, columns: Sequence[str] | Mapping[str, str], source: str) -> Dataset:
    """The columns asked for, in that order, under their new names."""
    names = dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}
    for name in names:
        if name not in table.column_names:
            known = ", ".join(repr(column) for column in table.column_names)
            raise DataError(f"{source}: no column {name!r}; it has {known}; correct `columns`")
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice or len(names) < len(columns):
        raise DataError(f"{source}: `columns` gives {twice[0] if twice else 'a column'!r} twice; name each column once")
    chosen = table.select_columns(list(names))
    renamed = {old: new for old, new in names.items() if old != new}
    return chosen.rename_columns(renamed) if renamed else chosen
