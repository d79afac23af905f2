"""Compiles the loops of the vnni backend in a process of its own, for the starts to come: it takes 15 s a precision.

`python -m app.model.backends.vnni_compiling DIRECTORY GRAPH...`
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.model.artifact import read_artifact
from app.model.backends import BackendOptions, backend_class
from app.model.compiled import is_ready, note_ready, one_at_a_time
from app.model.vnni import kernels
from app.model.vnni.weights import bits_of

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
TOKENS = 8


def start_compiling(directory: Path, graphs: Sequence[str]) -> None:
    """Starts that process, which gives way to all others. What comes of it is logged."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(  # noqa: S603  # this program itself
        [sys.executable, "-m", __name__, str(directory), *graphs],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    threading.Thread(target=_watch, args=(process, graphs), name="vnni-compiling", daemon=True).start()


def _watch(process: subprocess.Popen[str], graphs: Sequence[str]) -> None:
    began = time.perf_counter()
    _, errors = process.communicate()
    if process.returncode:
        lines = errors.strip().splitlines() or [f"exit status {process.returncode}"]
        log.warning("compiling for %s failed (%s); they do not compete", ", ".join(graphs), lines[-1])
    else:
        took = time.perf_counter() - began
        log.info("compiled for %s in %.0f s: from the next start on they compete", ", ".join(graphs), took)


def is_compiled(graph: Path) -> bool:
    """Whether a batch has been computed here with a graph of as many bits. Raises ArtifactError."""
    return is_ready(kernels.rest, _use(bits_of(graph)))


def note_compiled(bits: int) -> None:
    """Notes that a batch has been computed with a graph of so many bits."""
    note_ready(kernels.rest, _use(bits))


def _use(bits: int) -> str:
    return f"vnni-{bits}"


def compile_graphs(directory: Path, graphs: Sequence[str]) -> None:
    """Computes a batch with each of the graphs, which compiles and keeps what that takes. Raises ArtifactError."""
    artifact = read_artifact(directory)
    shape = (2, TOKENS)
    ones, zeros = np.ones(shape, np.int64), np.zeros(shape, np.int64)
    batch = {"input_ids": zeros, "attention_mask": ones, "token_type_ids": zeros}
    with one_at_a_time(kernels.rest):
        for graph in graphs:
            if not is_compiled(directory / graph):
                backend_class("vnni")(artifact, BackendOptions(graph=graph, threads=1)).forward(batch)


if __name__ == "__main__":
    os.nice(19)
    compile_graphs(Path(sys.argv[1]), sys.argv[2:])
