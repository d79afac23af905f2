"""Work on the cores of a CPU, each piece on one of them.

PyTorch's own way, all cores on one operation after the other, leaves them waiting for a sixth of the time: between the
large matrix products lie many small operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from os import getpid
from threading import Barrier
from typing import Any

import torch


def cost_of(length: int) -> float:
    """What a row of `length` tokens costs, in tokens of a short one: attention grows with the square."""
    return length + length**2 / 600


def share_out(costs: Sequence[float], count: int) -> list[range]:
    """Neighbours in at most `count` parts of about equal cost, none of them empty."""
    parts: list[range] = []
    bound, done, start = sum(costs) / count, 0.0, 0
    for i, cost in enumerate(costs):
        if i > start and done + cost / 2 > bound * (len(parts) + 1):
            parts.append(range(start, i))
            start = i
        done += cost
    return [*parts, range(start, len(costs))] if costs else []


def balance(costs: Sequence[float], count: int) -> list[list[int]]:
    """Places in at most `count` parts of about equal cost, in each as they come; dear ones should come first.

    Parts differ by less than those of `share_out`: at most by the cost of the last place that one of them got.
    """
    parts: list[list[int]] = [[] for _ in range(min(count, len(costs)))]
    sums = [0.0] * len(parts)
    for i, cost in enumerate(costs):
        lightest = sums.index(min(sums))
        parts[lightest].append(i)
        sums[lightest] += cost
    return parts


def on_cores(work: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """`work` for each row of `columns`, in that order. Raises what the first to fail raises, after all have ended."""
    pool = core_threads(getpid(), torch.get_num_threads())
    waiting = [pool.submit(work, *row) for row in zip(*columns, strict=True)]
    for one in waiting:
        one.exception()
    return [one.result() for one in waiting]


@cache
def core_threads(process: int, size: int) -> ThreadPoolExecutor:
    """Threads in each of which PyTorch uses one core. `process`: a fork copies this cache, but no threads."""
    pool = ThreadPoolExecutor(size, "core", _use_one_core)
    _renew_autograd()
    # All of them start here, none later: each sets what is the default of threads to come, and it is put back below.
    together = Barrier(size)
    for one in [pool.submit(together.wait) for _ in range(size)]:
        one.result()
    torch.set_num_threads(size)
    return pool


def _renew_autograd() -> None:
    """In a fork PyTorch makes its engine for gradients anew at its first use: by one thread, for two at once crash."""
    with torch.inference_mode(False), torch.enable_grad():
        torch.ones(1, requires_grad=True).square()


def _use_one_core() -> None:
    torch.get_num_threads()  # at the first such call a thread takes over the default: here, not after the next line
    torch.set_num_threads(1)
