"""Batches side by side, for runtimes that compute several at once, each on its share of the cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import TypeVar

from app.model.bucketing import LEAST, Budget

Item = TypeVar("Item")


def shared_out(budget: Budget, tokens: int, streams: int) -> Budget:
    """A budget that gives each of the `streams` a batch where there are `tokens` enough."""
    return replace(budget, max_tokens=min(budget.max_tokens, max(LEAST, -(-tokens // streams))))


def each(work: Callable[[Item], None], items: Sequence[Item], streams: int) -> None:
    """`work` for every item, `streams` at a time. After an error, which is raised, no further item is begun."""
    if streams == 1 or len(items) < 2:
        for item in items:
            work(item)
        return
    stopped = Event()

    def unless_stopped(item: Item) -> None:
        try:
            if not stopped.is_set():
                work(item)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(streams, "stream") as pool:
        waiting = [pool.submit(unless_stopped, item) for item in items]
        try:
            for one in waiting:
                one.result()
        finally:
            stopped.set()  # also where the wait was interrupted: what is left is not computed for nobody
