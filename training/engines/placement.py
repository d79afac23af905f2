"""How many workers fit on the machines of a cluster, and how many CPUs each of them gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import ConfigError

CPUS_PER_WORKER = 4
"""Wanted where nobody says how many workers: short batches do not keep more threads busy, each model takes memory."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a machine offers to workers."""

    cpus: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """`threads` are the CPUs of each worker, `gpus` its share of a GPU (0 without)."""

    workers: int
    threads: int
    gpus: float


def place(nodes: Sequence[Node], workers: int | None = None) -> Placement:
    """As many threads for each worker as can be had without sharing a CPU; all use GPUs if there are any.

    Raises ConfigError if the workers do not fit.
    """
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers}: must be 1 or more")
    if cpus == 0:
        raise ConfigError("the Ray cluster offers no CPUs; add nodes that do, or wait until they are up")
    wanted = workers or gpus or sum(max(1, node.cpus // CPUS_PER_WORKER) for node in nodes if node.cpus)
    sharing = math.ceil(wanted / gpus) if gpus else 0
    for threads in range(max(node.cpus for node in nodes), 0, -1):
        if sum(_room(node, threads, sharing) for node in nodes) >= wanted:
            return Placement(wanted, threads, 1 / sharing if sharing else 0)
    raise ConfigError(
        f"--workers {wanted}: they do not fit on {len(nodes)} machines with {cpus} CPUs and {gpus} GPUs; "
        "ask for fewer, or add machines"
    )


def _room(node: Node, threads: int, sharing: int) -> int:
    by_cpu = node.cpus // threads
    return min(by_cpu, node.gpus * sharing) if sharing else by_cpu
