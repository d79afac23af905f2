"""Timing alternatives against each other within a time limit. No models, no I/O; the clock is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 5
"""Timings of each alternative after which more would not change the choice."""
NEAR = 0.97
"""Share of the best throughput that counts as equal to it: repeated measurements differ by as much."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Run:
    """One alternative: what to time, and how much work that is in tokens."""

    tokens: int
    call: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """Each run's best throughput [tokens/s], 0 for one that was not reached, and how often it was timed.

    One timing is not enough to judge by: the first of a run holds its allocations.
    """

    rates: list[float]
    counts: list[int]


def compare(runs: Sequence[Run], limit_s: float, clock: Clock = time.perf_counter) -> Timing:
    """Times the runs in interleaved rounds (A B A B): what disturbs the machine only lengthens a timing.

    Nothing is started that is expected to end after `limit_s`; the first run is always timed once.
    """
    end = clock() + limit_s
    rates, counts = [0.0] * len(runs), [0] * len(runs)
    latest = 0.0
    for _ in range(ROUNDS):
        for index, run in enumerate(runs):
            rate = rates[index] or latest
            if rate and clock() + run.tokens / rate > end:
                continue
            started = clock()
            run.call()
            latest = run.tokens / max(clock() - started, 1e-9)
            rates[index] = max(rates[index], latest)
            counts[index] += 1
    return Timing(rates, counts)


def smallest_near_best(throughput: Mapping[int, float]) -> int | None:
    """The smallest size whose throughput is within 3 % of the best: what is above it costs latency only.

    None where fewer than two sizes were measured.
    """
    measured = {size: rate for size, rate in throughput.items() if rate > 0}
    if len(measured) < 2:
        return None
    return min(size for size, rate in measured.items() if rate >= NEAR * max(measured.values()))


def first_near_best(throughput: Sequence[float]) -> int:
    """Index of the first alternative whose throughput is within 3 % of the best."""
    return next(index for index, rate in enumerate(throughput) if rate >= NEAR * max(throughput))
