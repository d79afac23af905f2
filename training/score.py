"""`rerank-training score`: a table of pairs with a model's scores."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset
from tqdm import tqdm

from app.errors import ConfigError
from app.model.cross_encoder import CrossEncoder
from training.commands.table_output import check_output, writing
from training.data.tables import load_table
from training.errors import DataError


def score_command(options: argparse.Namespace) -> int:
    """Runs the command line's `score`."""
    check_output(options.output, options.overwrite)
    if options.chunk < 1:
        raise ConfigError(f"--chunk {options.chunk}: must be 1 or more")
    table = load_table(options.input, format=options.format, split=options.split, sql=options.sql)
    columns = text_columns(table, options.columns, options.input)
    model = CrossEncoder.load(options.model, backend=options.backend, max_length=options.max_length)
    names = score_names(model, table, options.score_column)
    with writing(options.output) as write, tqdm(total=len(table), desc="score", unit="pair") as progress:
        for block in scored(table, columns, names, model, options.chunk, options.input):
            write(block)
            progress.update(block.num_rows)
    print(f"{len(table)} scored pairs written to {options.output}")
    return 0


def text_columns(table: Dataset, wanted: Sequence[str] | None, source: str) -> tuple[str, str]:
    """The columns of query and document: those that are asked for, else the first two that hold texts."""
    texts = [
        name for name, kind in table.features.items() if getattr(kind, "dtype", None) in ("string", "large_string")
    ]
    for name in wanted or ():
        if name not in table.column_names:
            raise DataError(f"{source}: no column {name!r}; it has {', '.join(table.column_names)}; correct --columns")
        if name not in texts:
            raise DataError(f"{source}: column {name!r} holds no texts; choose others with --columns")
    chosen = list(wanted) if wanted else texts[:2]
    if len(chosen) < 2:
        raise DataError(f"{source}: has {len(texts)} columns of texts, but a pair needs two; choose other data")
    return chosen[0], chosen[1]


def score_names(model: CrossEncoder, table: Dataset, wanted: str | None) -> list[str]:
    """Names of the columns to add: `score`, or one per label, each beginning with `wanted` if that is given."""
    if model.num_labels == 1:
        names = [wanted or "score"]
    else:
        names = [f"{wanted}_{label}" if wanted else label for label in model.artifact.labels]
    taken = [name for name in names if name in table.column_names]
    if taken:
        raise ConfigError(f"the input has a column {taken[0]!r} already; choose another name with --score-column")
    return names


def scored(
    table: Dataset, columns: tuple[str, str], names: Sequence[str], model: CrossEncoder, chunk: int, source: str
) -> Iterator[pa.Table]:
    """The rows with their scores, `chunk` of them at a time. Raises DataError at a row without text."""
    rows = table.with_format("arrow")
    for start in range(0, len(table), chunk):
        block: pa.Table = rows[start : start + chunk]
        queries, documents = (texts_of(block, name, start, source) for name in columns)
        scores = model.predict(list(zip(queries, documents, strict=True))).reshape(block.num_rows, len(names))
        for number, name in enumerate(names):
            block = block.append_column(name, pa.array(np.ascontiguousarray(scores[:, number])))
        yield block


def texts_of(block: pa.Table, name: str, start: int, source: str) -> list[str]:
    """The texts of a column."""
    texts: list[str] = block[name].to_pylist()
    if block[name].null_count:
        row = start + block[name].is_null().to_pylist().index(True)
        raise DataError(f"{source}, row {row}: column {name!r} is empty; fill it, or leave the row out")
    return texts
