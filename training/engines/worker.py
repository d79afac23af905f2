"""What runs in each process of an engine: one model, block after block."""

from __future__ import annotations

import os
import sys

import numpy as np
import pyarrow as pa

from app.errors import RerankerError
from app.model.types import FloatArray
from training.engines import Compute, Work
from training.errors import EngineError


class BlockWorker:
    """Loads the model once, then answers each block with one row: the result's bytes, or why there is none.

    Errors with a remedy travel as text: they would fail again elsewhere. Others are raised, for the engine to retry.
    """

    def __init__(self, work: Work, threads: int) -> None:
        self._compute: Compute | None = None
        self._failure = ""
        _limit_threads(threads)
        try:
            self._compute = work.load(threads)
        except RerankerError as error:
            self._failure = str(error)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)

    def __call__(self, block: pa.Table) -> pa.Table:
        if self._compute is None:
            return _row(b"", [], self._failure)
        try:
            result = np.ascontiguousarray(self._compute(block), dtype=np.float32)
        except RerankerError as error:
            return _row(b"", [], str(error))
        return _row(result.tobytes(), list(result.shape), "")


def result_of(row: dict[str, object]) -> FloatArray:
    """The array in a row of `BlockWorker`. Raises EngineError if there is none."""
    if row["failure"]:
        raise EngineError(f"a worker failed: {row['failure']}")
    values: FloatArray = np.frombuffer(row["values"], dtype=np.float32)  # type: ignore[call-overload]
    return values.reshape(np.asarray(row["shape"], dtype=np.int64))


def _row(values: bytes, shape: list[int], failure: str) -> pa.Table:
    """One cell for all numbers: however an engine cuts tables, it does not cut in there."""
    columns = {
        "values": pa.array([values], pa.large_binary()),
        "shape": pa.array([shape], pa.list_(pa.int64())),
        "failure": pa.array([failure], pa.string()),
    }
    return pa.table(columns)


def _limit_threads(threads: int) -> None:
    """Runtimes and tokenizers read these when they start, and would take all CPUs of the machine each."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)
