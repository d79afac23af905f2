"""Registry of runtimes. A backend is one file here plus one line in `BACKENDS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Literal, Protocol, cast, runtime_checkable

from app.errors import ConfigError
from app.model.artifact import Artifact
from app.model.cpus import available_cpus
from app.model.types import Batch, FloatArray

MOST_STREAMS = 16
"""Each holds the activations of a batch."""

Precision = Literal["fp32", "fp16", "bf16", "int16", "int8"]


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How a runtime is to load a model. `device` is `auto`, `cpu`, `cuda`, `cuda:N`; `threads` 0 follows the cgroup.

    `providers` names ONNX Runtime execution providers in order of preference; empty: by device. `graph` is the
    file inside the artifact to load; empty: the usual names are tried. `streams` is how many batches OpenVINO computes
    side by side, each on its share of the threads: more in all, but each takes longer.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    threads: int = 0
    compile: bool = False
    providers: tuple[str, ...] = ()
    graph: str = ""
    streams: int = 1

    def for_many_rows(self) -> BackendOptions:
        """The same where nobody waits for a single batch: a stream on each core."""
        return replace(self, streams=min(self.threads or available_cpus(), MOST_STREAMS))


class Backend(Protocol):
    """What the rest of the system asks of a runtime: to be described, and to turn a padded batch into logits."""

    name: str
    """As registered in `BACKENDS`."""
    device: str
    source: str
    """The weights that were loaded, relative to the artifact."""

    def forward(self, batch: Batch) -> FloatArray:
        """Logits of shape (rows, labels), float32.

        Raises DeviceError and BackendOutOfMemory; any other failure as it comes.
        """
        ...


@runtime_checkable
class Streaming(Protocol):
    """A backend whose `forward` gets more done when several threads call it."""

    streams: int
    """How many of them."""


@runtime_checkable
class Preparing(Protocol):
    """A backend that can begin with a batch while it computes another one."""

    def prepare(self, batch: Batch) -> Batch:
        """The same batch, for one or more calls of `forward`. Raises as that does."""
        ...


@runtime_checkable
class MemoryGauge(Protocol):
    """A backend on a device with memory of its own."""

    def free_memory_bytes(self) -> int:
        """What nobody holds; memory that the runtime keeps for its next batches is held."""
        ...

    def release_memory(self) -> None:
        """Gives back what the runtime keeps for its next batches."""
        ...


@runtime_checkable
class Compiling(Protocol):
    """A backend class that, when a machine first uses it, compiles for longer than a start should take."""

    def is_compiled(self, artifact: Artifact, graph: str) -> bool:
        """Whether that was done, and kept, for a graph like this one. Raises ArtifactError."""
        ...

    def compile_aside(self, artifact: Artifact, graphs: Sequence[str]) -> None:
        """Begins with it in a process that gives way to this one; later starts find the result."""
        ...


class BackendClass(Protocol):
    """What a registry line must lead to."""

    def __call__(self, artifact: Artifact, options: BackendOptions) -> Backend:
        """Loads the model. Raises ArtifactError."""
        ...

    def select_weights(self, names: list[str], options: BackendOptions) -> list[str]:
        """The files, among a repository's `names`, that this backend loads; empty if there are none."""
        ...


BACKENDS = {
    "onnx": "app.model.backends.onnx:OnnxBackend",
    "openvino": "app.model.backends.openvino:OpenVinoBackend",
    "torch": "app.model.backends.torch:TorchBackend",
    "vnni": "app.model.backends.vnni:VnniBackend",
}
EXTRAS = {"onnx": "cpu", "openvino": "openvino", "torch": "torch", "vnni": "vnni"}


def backend_class(name: str) -> BackendClass:
    """The class registered under `name`. Raises ConfigError if it is unknown or its runtime is not installed."""
    if name not in BACKENDS:
        raise ConfigError(f"backend {name!r} is unknown; choose one of {', '.join(BACKENDS)}")
    module, _, attribute = BACKENDS[name].partition(":")
    try:
        return cast(BackendClass, getattr(import_module(module), attribute))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"backend {name!r} needs {error.name}, which is not installed: pip install 'crossrank[{EXTRAS[name]}]'"
        ) from error
