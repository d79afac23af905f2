"""Work that other processes can unpickle."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from app.errors import ArtifactError, ConfigError
from app.model.types import FloatArray
from training.engines import Compute, EngineOptions, Work


@dataclass(frozen=True)
class Doubling:
    """Twice the numbers of a block. `trouble`: what goes wrong; a file `once` is there after it has."""

    trouble: str = ""
    once: Path | None = None

    def load(self, threads: int) -> Compute:
        if self.trouble == "load":
            raise ArtifactError("model.onnx is torn; export it again")
        return self._double

    def _double(self, block: pa.Table) -> FloatArray:
        numbers = np.asarray(block["number"].to_numpy(), dtype=np.float32)
        if self._is_due():
            if self.trouble == "bug":
                raise KeyError("no such thing")
            if self.trouble == "remedy":
                raise ConfigError("the text is too long; cut it")
            os._exit(1)
        if numbers[0] == 0:
            time.sleep(0.5)  # the first block is the last to be ready
        return np.stack([numbers * 2, numbers], axis=1)

    def _is_due(self) -> bool:
        if self.trouble == "" or (self.once is not None and self.once.exists()):
            return False
        if self.once is not None:
            self.once.touch()
        return True


def blocks(count: int = 6, rows: int = 4) -> list[pa.Table]:
    """Blocks of numbers that go on from one to the next."""
    return [pa.table({"number": list(range(start, start + rows))}) for start in range(0, count * rows, rows)]


def write(path: Path, pairs: list[tuple[str, str]]) -> None:
    """A table of numbered pairs."""
    queries, answers = zip(*pairs, strict=True)
    pa.parquet.write_table(pa.table({"id": list(range(len(pairs))), "query": queries, "answer": answers}), path)


class Eager:
    """An engine that reads all blocks before it computes any, the last first, with copies of the work."""

    def __init__(self) -> None:
        self.read = 0

    def arrays(self, work: Work, blocks: Iterable[Any]) -> Iterator[FloatArray]:
        waiting = list(blocks)
        self.read += len(waiting)
        compute = pickle.loads(pickle.dumps(work)).load(1)
        yield from [compute(block) for block in reversed(waiting)][::-1]


EAGER = Eager()


@contextmanager
def eager(options: EngineOptions) -> Iterator[Eager]:
    """As an engine of the registry."""
    yield EAGER
