"""Threads that compute a pass together, and the buffers of each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field
from threading import Barrier, BrokenBarrierError

import numpy as np

from app.model.types import FloatArray
from app.model.vnni.tile_size import ROWS

Wait = Callable[[], object]
"""Returns when all members have called it."""


@dataclass(slots=True)
class Workspace:
    """Buffers of one thread, which grow with the longest chunk. What they hold at first does not matter."""

    _kept: dict[str, FloatArray] = field(default_factory=dict)

    def floats(self, name: str, rows: int, width: int) -> FloatArray:
        """Shape (rows and what kernels may read behind them, width)."""
        count = rows + ROWS
        return self.line(name, count * width).reshape(count, width)

    def line(self, name: str, count: int) -> FloatArray:
        """Shape (count,)."""
        known = self._kept.get(name)
        if known is None or len(known) < count:
            known = self._kept[name] = np.zeros(count, np.float32)
        return known[:count]


@dataclass(frozen=True, slots=True)
class Team:
    """As many members as `works`: the thread that calls `run`, and threads of `helpers`, which must be free."""

    works: list[Workspace]
    helpers: Executor | None = None

    def spans(self, count: int, multiple: int = 1) -> list[range]:
        """`count` things in a span for each member, of about equal size; all but the last in whole `multiple`s."""
        size = -(-count // (len(self.works) * multiple)) * multiple
        return [range(min(i * size, count), min((i + 1) * size, count)) for i in range(len(self.works))]

    def run(self, job: Callable[[int, Wait], None]) -> None:
        """`job(member, wait)` by all members. Raises what a member raised; the others do not wait for it."""
        if self.helpers is None:
            job(0, lambda: None)
            return
        barrier = Barrier(len(self.works))

        def guarded(member: int) -> None:
            try:
                job(member, barrier.wait)
            except BrokenBarrierError:
                pass  # another member failed, and says why
            except BaseException:
                barrier.abort()
                raise

        helping = [self.helpers.submit(guarded, member) for member in range(1, len(self.works))]
        try:
            guarded(0)
        finally:
            wait(helping)
        for each in helping:
            each.result()
