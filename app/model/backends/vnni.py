"""Loops of our own on a CPU: small integers where it multiplies and adds them in one instruction (VNNI), or float32."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Lock

import numpy as np

from app.errors import ArtifactError, ConfigError
from app.model.artifact import Artifact
from app.model.backends import BackendOptions
from app.model.backends.failures import translated
from app.model.backends.graphs import VNNI_GRAPHS, choose_graph, graph_files
from app.model.backends.vnni_compiling import is_compiled, note_compiled, start_compiling
from app.model.cpus import available_cpus
from app.model.packed.flat import Flat, flatten, slices
from app.model.types import Batch, FloatArray
from app.model.vnni.network import Network, busiest, shares
from app.model.vnni.team import Team, Workspace
from app.model.vnni.tiles import has_vnni

log = logging.getLogger(__name__)

SUFFIX = ".vnni"
UNEVEN = 1.2
"""So much more than its share of the tokens may the busiest thread have."""


class VnniBackend:
    """Runs what `rerank-training export --target vnni-int16`, `vnni-int8` or `vnni-fp32` wrote, without padding.

    A batch is shared out among the threads by rows; where that is uneven, all of them compute each row together.
    """

    name = "vnni"

    def __init__(self, artifact: Artifact, options: BackendOptions) -> None:
        if options.device not in ("auto", "cpu"):
            raise ConfigError(f"the vnni backend runs on the CPU, not on {options.device}; choose the torch backend")
        self.device, self.streams = "cpu", options.streams
        self.source = _find(artifact, options.graph)
        self._network, self._segments = Network(artifact.require(self.source)), artifact.segments
        if self._network.shape.bits < 32 and not has_vnni():
            log.warning("this CPU has no AVX-512 VNNI: integers are slow here; choose the backend onnx or openvino")
        self._threads = max(1, (options.threads or available_cpus()) // options.streams)
        self._pool = ThreadPoolExecutor(self._threads, "vnni") if self._threads > 1 else None
        self._together = Lock()  # two teams would wait for each other's members
        self._idle: SimpleQueue[Workspace] = SimpleQueue()
        self._noted = False

    @classmethod
    def select_weights(cls, names: list[str], options: BackendOptions) -> list[str]:
        """The preferred file among `names`."""
        return graph_files(names, _choose(names, options.graph))

    @classmethod
    def is_compiled(cls, artifact: Artifact, graph: str) -> bool:
        """Whether another process has computed a batch with a graph of as many bits. Raises ArtifactError."""
        return is_compiled(artifact.directory / graph)

    @classmethod
    def compile_aside(cls, artifact: Artifact, graphs: Sequence[str]) -> None:
        """Has another process compute a batch with each of the graphs."""
        start_compiling(artifact.directory, graphs)

    def forward(self, batch: Batch) -> FloatArray:
        """Logits (rows, labels) in float32. Raises BackendOutOfMemory."""
        flat, order = flatten(batch, segments=self._segments)
        self._network.check(flat)
        try:
            own = np.concatenate(self._parts(flat))
        except MemoryError as error:
            raise translated(error, "the vnni backend") or error from error
        if not self._noted:
            note_compiled(self._network.shape.bits)
            self._noted = True
        logits = np.empty_like(own)
        logits[order] = own
        return logits

    def _parts(self, flat: Flat) -> list[FloatArray]:
        if self._pool is None:
            return [self._alone(flat)]
        parts = shares(flat.lengths, self._threads)
        if busiest(flat.lengths, parts, self._threads) * self._threads <= UNEVEN * len(flat.ids):
            return list(self._pool.map(self._alone, slices(flat, parts)))
        with self._together, self._workspaces(self._threads) as works:
            return [self._network.logits(flat, Team(works, self._pool))]

    def _alone(self, flat: Flat) -> FloatArray:
        with self._workspaces(1) as works:
            return self._network.logits(flat, Team(works))

    @contextmanager
    def _workspaces(self, count: int) -> Iterator[list[Workspace]]:
        works = [self._workspace() for _ in range(count)]
        try:
            yield works
        finally:
            for work in works:
                self._idle.put(work)

    def _workspace(self) -> Workspace:
        try:
            return self._idle.get_nowait()
        except Empty:
            return Workspace()


def _choose(names: Sequence[str], wanted: str) -> str:
    return choose_graph([name for name in names if name.endswith(SUFFIX)], VNNI_GRAPHS, wanted)


def _find(artifact: Artifact, wanted: str) -> str:
    found = _choose(artifact.files(), wanted)
    if not found:
        raise ArtifactError(
            f"{artifact.directory / (wanted or VNNI_GRAPHS[0])}: missing or of another format; export the model with "
            "'rerank-training export --target vnni-int16', or choose another backend"
        )
    return found
