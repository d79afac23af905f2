"""Scores one batch so that a failure reaches only the request whose item causes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.batching.queue import Item
from app.errors import BackendError, DeviceError
from app.model.types import Batch, Encoded, FloatArray

log = logging.getLogger(__name__)

Row = Item[Encoded]


class Engine(Protocol):
    """What scores a batch; `CrossEncoder` is one."""

    def pad(self, rows: Sequence[Encoded]) -> Batch:
        """Padded inputs; `input_ids` has shape (rows, longest)."""
        ...

    def forward(self, batch: Batch) -> FloatArray:
        """Logits (rows, labels)."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """Rows that were computed in one forward; `logits[i]` belongs to `items[i]` and is finite."""

    items: list[Row]
    logits: FloatArray
    padded_tokens: int
    started: float
    seconds: float

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return sum(item.length for item in self.items)


@dataclass(frozen=True, slots=True)
class Failed:
    """The one item that could not be scored."""

    item: Row
    error: Exception


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a batch is scored with. `wanted` leaves out items whose request is gone; `shrink` lowers
    the budget below a batch of that many padded tokens."""

    engine: Engine
    wanted: Callable[[Sequence[Row]], list[Row]]
    shrink: Callable[[int], None]

    def score(self, items: Sequence[Row], batch: Batch | None, may_shrink: bool = True) -> Iterator[Done | Failed]:
        """Every wanted item exactly once, as part of a `Done` or as a `Failed`.

        A batch that fails is halved until the culprits are alone. A device error first lowers the budget, once.
        """
        rows = self.wanted(items)
        if not rows:
            return
        started = time.monotonic()
        try:
            if batch is None or len(rows) != len(items):
                batch = self.engine.pad([row.payload for row in rows])
            logits = self.engine.forward(batch)
            if len(logits) != len(rows):
                raise RuntimeError(f"bug: the backend gave {len(logits)} rows for {len(rows)} inputs")
        except Exception as error:
            yield from self._recover(rows, error, may_shrink)
        else:
            seconds = time.monotonic() - started
            yield from _outcomes(rows, logits, int(batch["input_ids"].size), started, seconds)

    def _recover(self, rows: list[Row], error: Exception, may_shrink: bool) -> Iterator[Done | Failed]:
        retry_alone = False
        if may_shrink and isinstance(error, DeviceError):
            log.warning("device error, retrying with smaller batches: %s", error)
            self.shrink(max(row.length for row in rows) * len(rows))
            may_shrink, retry_alone = False, len(rows) == 1
        if len(rows) == 1 and not retry_alone:
            yield Failed(rows[0], error)
            return
        middle = (len(rows) + 1) // 2
        for part in (rows[:middle], rows[middle:]):
            yield from self.score(part, None, may_shrink)


def _outcomes(
    rows: list[Row], logits: FloatArray, padded_tokens: int, started: float, seconds: float
) -> Iterator[Done | Failed]:
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(logits).all(axis=1))
    good = [row for row, ok in zip(rows, finite, strict=True) if ok]
    if good:
        yield Done(good, logits[finite], padded_tokens, started, seconds)
    for row, ok in zip(rows, finite, strict=True):
        if not ok:
            yield Failed(row, BackendError("the model gave a score that is not a finite number"))
