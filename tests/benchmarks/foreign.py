"""How much of the machine other programs took while something was measured: more than a few percent spoils figures."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

CORES = psutil.cpu_count() or 1


class ForeignCpu:
    """Watches from now on. Ours are this process, the children that it has waited for, and `others`."""

    def __init__(self, others: Sequence[psutil.Process] = ()) -> None:
        self._others = others
        self._began, self._busy, self._ours = time.perf_counter(), _busy_s(), self._ours_s()

    def percent(self) -> float:
        """Share of all cores that other programs, or the host, took since the start."""
        foreign_s = _busy_s() - self._busy - (self._ours_s() - self._ours)
        return 100 * max(0.0, foreign_s) / ((time.perf_counter() - self._began) * CORES)

    def _ours_s(self) -> float:
        own = psutil.Process().cpu_times()
        others = [other.cpu_times() for other in self._others]
        return float(own.children_user + own.children_system + sum(each.user + each.system for each in (own, *others)))


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times)) - times.idle - getattr(times, "iowait", 0.0)
