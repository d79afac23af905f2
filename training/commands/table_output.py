"""Tables written block by block, into a temporary file that takes its name when it is complete."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from app.errors import ConfigError
from training.errors import DataError

Write = Callable[[pa.Table], None]
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}


def check_output(path: Path, overwrite: bool) -> None:
    """Raises ConfigError if nothing can be written at `path`."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--output {path}: its name must end in one of {', '.join(FORMATS)}")
    if path.is_dir() or (path.exists() and not overwrite):
        raise ConfigError(f"--output {path}: exists already; choose another name, or give --overwrite for a file")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: no directory {path.parent}; create it first")


@contextmanager
def writing(path: Path) -> Iterator[Write]:
    """A function that adds a block; the file appears, whole, when the block ends without an error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            writer = BlockWriter(file, FORMATS[path.suffix.lower()], path)
            yield writer.add
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # as any new file; temporary ones are private
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class BlockWriter:
    """Writes blocks of one schema; the columns are those of the first."""

    def __init__(self, file: IO[bytes], kind: str, path: Path) -> None:
        self._file = file
        self._kind = kind
        self._path = path
        self._writer: Any = None

    def add(self, block: pa.Table) -> None:
        """Raises DataError for a column that the format cannot hold."""
        if self._kind == "jsonl":
            lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in block.to_pylist())
            self._file.write("".join(lines).encode())
            return
        try:
            if self._writer is None:
                self._writer = self._open(block.schema)
            self._writer.write_table(block)
        except (pa.ArrowException, NotImplementedError) as error:
            raise DataError(f"{self._path}: {self._kind} cannot hold these columns ({error}); write .jsonl") from error

    def close(self) -> None:
        """Writes what belongs at the end."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, schema: pa.Schema) -> Any:
        if self._kind == "parquet":
            return pa.parquet.ParquetWriter(self._file, schema)
        separator = "\t" if self._kind == "tsv" else ","
        return pa.csv.CSVWriter(self._file, schema, write_options=pa.csv.WriteOptions(delimiter=separator))
