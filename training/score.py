"""`rerank-training score`: a table of pairs with a model's scores."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from tqdm import tqdm

from app.errors import ConfigError
from app.model.artifact import Artifact
from training.commands.table_output import check_output, writing
from training.data.parts import table_parts
from training.data.tables import is_untyped, load_table
from training.engines import Engine, EngineOptions, open_engine
from training.engines.pair_scoring import PairScoring
from training.errors import DataError


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of a part of the input; the first of them is row `start` there."""

    rows: pa.Table
    start: int
    source: str


class Input:
    """The table to score: one source, or files with the same columns, of which one at a time is in memory.

    `columns` are those of query and document. Values of CSV and TSV files stay as they were written.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Opens the first part. Raises DataError."""
        self._options = options
        self._parts = table_parts(options.input)
        if len(self._parts) > 1 and options.split:
            raise DataError(f"{options.input}: --split is for one table, but these are {len(self._parts)} files")
        self.first = self._load(self._parts[0])
        self.columns = self._columns()

    @property
    def rows(self) -> int | None:
        """How many there are, where that is known before all is read."""
        return len(self.first) if len(self._parts) == 1 else None

    def blocks(self, size: int) -> Iterator[Block]:
        """All rows, up to `size` at a time. Raises DataError for a part with other columns than the first."""
        for number, source in enumerate(self._parts):
            table = self._load(source) if number else self.first
            if table.features != self.first.features:
                raise DataError(f"{source}: its columns or their types differ from those of {self._parts[0]}")
            rows = table.with_format("arrow")
            for start in range(0, len(table), size):
                yield Block(rows[start : start + size], start, source)

    def _columns(self) -> tuple[str, str]:
        """Those that are asked for; texts that are numbers, such as ids, are none that are chosen."""
        wanted, source = self._options.columns, self._options.input
        if wanted or not is_untyped(self._parts[0], self._options.format):
            return text_columns(self.first, wanted, source)
        return text_columns(self._load(self._parts[0], False), None, source, "name two with --columns")

    def _load(self, source: str, as_written: bool = True) -> Dataset:
        options = self._options
        return load_table(source, format=options.format, split=options.split, sql=options.sql, as_written=as_written)


def score_command(options: argparse.Namespace) -> int:
    """Runs the command line's `score`."""
    check_output(options.output, options.overwrite)
    if options.chunk < 1:
        raise ConfigError(f"--chunk {options.chunk}: must be 1 or more")
    source = Input(options)
    work = PairScoring.of(options.model, options.backend, options.max_length)
    names = score_names(work.artifact(), source.first, options.score_column)
    count = 0
    with (
        open_engine(options.engine, EngineOptions(options.workers, options.address)) as engine,
        writing(options.output) as write,
        tqdm(total=source.rows, desc="score", unit="pair") as progress,
    ):
        for block in scored(source.blocks(options.chunk), source.columns, names, engine, work):
            write(block)
            count += block.num_rows
            progress.update(block.num_rows)
    print(f"{count} scored pairs written to {options.output}")
    return 0


def text_columns(
    table: Dataset, wanted: Sequence[str] | None, source: str, remedy: str = "choose other data"
) -> tuple[str, str]:
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
        raise DataError(f"{source}: has {len(texts)} columns of texts, but a pair needs two; {remedy}")
    return chosen[0], chosen[1]


def score_names(artifact: Artifact, table: Dataset, wanted: str | None) -> list[str]:
    """Names of the columns to add: `score`, or one per label, each beginning with `wanted` if that is given."""
    if artifact.num_labels == 1:
        names = [wanted or "score"]
    else:
        names = [f"{wanted}_{label}" if wanted else label for label in artifact.labels]
    taken = [name for name in names if name in table.column_names]
    if taken:
        raise ConfigError(f"the input has a column {taken[0]!r} already; choose another name with --score-column")
    return names


def scored(
    blocks: Iterator[Block], columns: tuple[str, str], names: Sequence[str], engine: Engine, work: PairScoring
) -> Iterator[pa.Table]:
    """The rows of each block with their scores. Raises DataError at a row without text."""
    kept, sent = tee(blocks)  # an engine reads ahead
    pairs = (work.block(*(texts_of(each.rows, name, each.start, each.source) for name in columns)) for each in sent)
    for block, scores in zip(kept, engine.arrays(work, pairs), strict=True):
        rows = block.rows
        for name, column in zip(names, scores.reshape(rows.num_rows, len(names)).T, strict=True):
            rows = rows.append_column(name, pa.array(np.ascontiguousarray(column)))
        yield rows


def texts_of(block: pa.Table, name: str, start: int, source: str) -> Any:
    """The texts of a column, as Arrow has them."""
    if block[name].null_count:
        row = start + block[name].is_null().to_pylist().index(True)
        raise DataError(f"{source}, row {row}: column {name!r} is empty; fill it, or leave the row out")
    return block[name]
