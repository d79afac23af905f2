"""How many CPUs this process may really use."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")
ARITHMETIC = re.compile(r"amx_\w+|avx\w*|fma|asimd\w*|bf16|i8mm|sve\w*")
"""Features that decide how fast a model runs: vector width, int8 and bf16 instructions."""


def available_cpus(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """CPUs allowed by affinity and by the quotas of the process's cgroups (v2 or v1), the lowest; at least 1.

    A container limited to 2 CPUs on a 64-core host gets 2: thread pools sized from the host's count spend
    their time being throttled.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_quota(directory) for directory in _directories(cgroups, membership))
    return max(1, min([cpus, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def _directories(cgroups: Path, membership: Path) -> Iterator[Path]:
    """Where quotas may stand: the mount's root, which is the container's own, and each group down to ours."""
    yield from (cgroups, cgroups / "cpu")
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:  # "0::/system.slice/x" in v2, "4:cpu,cpuacct:/docker/x" in v1
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = PurePosixPath(path.lstrip("/"))
        yield from (cgroups / ("cpu" if controllers else "") / each for each in (group, *group.parents))


def _quota(directory: Path) -> float | None:
    try:
        if (directory / "cpu.max").is_file():
            quota, period = (directory / "cpu.max").read_text().split()
        else:
            quota = (directory / "cpu.cfs_quota_us").read_text().strip()
            period = (directory / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def has_wide_registers() -> bool:
    """Whether six rows of 32 float32 fit the CPU's registers: where they do not, libraries' products are faster."""
    return "avx512f" in cpu_model().split()


@cache
def cpu_model(cpuinfo: Path = CPUINFO) -> str:
    """The CPU's name and arithmetic features: two machines of one text run a model equally fast per core.

    Virtual machines hide the name but not the features, hence both.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    name = fields.get("model name") or platform.processor() or platform.machine()
    words = fields.get("flags", fields.get("Features", "")).split()
    return " ".join([name, *sorted({word for word in words if ARITHMETIC.fullmatch(word)})])
