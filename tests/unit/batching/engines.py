"""Fake engines: scores that are a known function of the input, and failures on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from app.model.types import Batch, Encoded, FloatArray

Fault = Callable[[FloatArray], None]


def row(*ids: int) -> Encoded:
    """An input of the given token ids."""
    return Encoded(np.array(ids, dtype=np.int32), 1, len(ids))


def rows_of(values: Sequence[int], length: int = 4) -> list[Encoded]:
    """Inputs of `length` equal tokens, so that the score is value x length."""
    return [row(*[value] * length) for value in values]


class FakeEngine:
    """Scores a row with the sum of its ids. `gate` holds forwards back; `fault` may raise, given the row sums."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.padded = threading.Semaphore(0)
        self.fault = fault
        self.batches: list[list[float]] = []

    def pad(self, rows: Sequence[Encoded]) -> Batch:
        ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        for i, encoded in enumerate(rows):
            ids[i, : len(encoded)] = encoded.ids
        self.padded.release()
        return {"input_ids": ids}

    def forward(self, batch: Batch) -> FloatArray:
        sums = batch["input_ids"].sum(axis=1, keepdims=True).astype(np.float32)
        self.entered.release()
        assert self.gate.wait(10), "the test never opened the gate"
        if self.fault is not None:
            self.fault(sums)
        self.batches.append(sums[:, 0].tolist())
        return sums

    @property
    def computed(self) -> list[float]:
        """Scores of all rows that were computed, in order."""
        return [value for batch in self.batches for value in batch]
