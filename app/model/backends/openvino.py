"""OpenVINO on the CPU: reads an ONNX graph or OpenVINO's own format."""

from __future__ import annotations

import os
import sys
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from app.errors import ArtifactError, ConfigError
from app.model.artifact import Artifact
from app.model.backends import BackendOptions
from app.model.backends.failures import translated
from app.model.backends.graphs import OPENVINO_GRAPHS, choose_graph, find_graph, graph_files
from app.model.cpus import available_cpus
from app.model.messages import first_line
from app.model.types import Batch, FloatArray

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
STEPS = ((32, 4), (64, 8))
"""Row lengths up to the first number are padded to multiples of the second, longer ones to multiples of `VECTOR`."""
VECTOR = 16
"""float32 numbers in a register of AVX-512; OpenVINO's softmax takes what is left over one by one."""
SHAPES = "CPU_RUNTIME_CACHE_CAPACITY"
"""OpenVINO's setting for how many shapes it keeps the machine code of, per kind of operation and stream."""
SHAPES_KEPT, SHAPES_KEPT_BY_STREAM = 64, 16
"""One stream serves requests of all lengths; several are for sorted rows, whose shapes do not return."""
PRIMITIVES, PRIMITIVES_KEPT = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", 256
"""The same in oneDNN, which computes the products for it and reads an environment variable. With the defaults, 5,000
and 1,024, a service grows by 3 to 5 MB with every new shape, to over a gigabyte; with these it is as fast and stays."""

CORE = ov.Core()
"""The process's only one. Each gives the thread that loads its plugin a stack for signal handlers and, when it ends,
sets the one of before: with two, that may have been given back, and the next signal would end the process."""


class OpenVinoBackend:
    """Runs an exported graph; feeds exactly the inputs that the graph declares."""

    name = "openvino"

    def __init__(self, artifact: Artifact, options: BackendOptions) -> None:
        settings = _settings(options, cpu_capabilities()) | _kept_shapes(options.streams)
        self.device, self.streams = "cpu", options.streams
        self.source = find_graph(artifact, OPENVINO_GRAPHS, options.graph)
        path = artifact.directory / self.source
        try:
            self._model = CORE.compile_model(CORE.read_model(path), "CPU", settings)
        except Exception as error:  # openvino raises RuntimeError for everything
            raise ArtifactError(
                f"{path}: OpenVINO cannot load it ({first_line(error)}); export the model again"
            ) from error
        self._inputs = {port.any_name: port.element_type.to_dtype() for port in self._model.inputs}
        if unknown := set(self._inputs) - INPUTS:
            raise ArtifactError(f"{path}: takes unknown inputs {sorted(unknown)}; export a sequence classifier")
        outputs = self._model.outputs
        self._output = next((port for port in outputs if "logits" in port.names), outputs[0])
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._limit, self._pad_id = artifact.max_length, artifact.pad_id

    @classmethod
    def select_weights(cls, names: list[str], options: BackendOptions) -> list[str]:
        """The preferred graph among `names` with its weights."""
        return graph_files(names, choose_graph(names, OPENVINO_GRAPHS, options.graph))

    def forward(self, batch: Batch) -> FloatArray:
        """Logits (rows, labels) in float32. Raises BackendOutOfMemory."""
        request = self._request()
        try:
            longest = batch["input_ids"].shape[1]
            missing = padded_length(longest, self._limit) - longest
            feeds = {name: self._feed(batch, name, missing) for name in self._inputs}
            answer = np.array(request.infer(feeds)[self._output], dtype=np.float32)
        except (MemoryError, RuntimeError) as error:
            if (ours := translated(error, "OpenVINO")) is not None:
                raise ours from error
            raise
        # A request that failed is not used again: after an allocation failure it crashes the process.
        self._idle.put(request)
        return answer

    def _feed(self, batch: Batch, name: str, missing: int) -> NDArray[Any]:
        values = batch[name].astype(self._inputs[name], copy=False)
        if not missing:
            return values
        padding = self._pad_id if name == "input_ids" else 0
        return np.pad(values, ((0, 0), (0, missing)), constant_values=padding)

    def _request(self) -> Any:
        """A request that no other thread holds: one runs one inference at a time and keeps its buffers."""
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._model.create_infer_request()


def padded_length(longest: int, limit: int) -> int:
    """The length to which rows of at most `longest` tokens are padded, at most `limit`: one of few.

    For every new shape OpenVINO makes machine code, which takes half as long as the batch itself.
    """
    step = next((step for most, step in STEPS if longest <= most), VECTOR)
    return max(longest, min(limit, -(-longest // step) * step))


def cpu_capabilities() -> list[str]:
    """Number formats in which this CPU computes, as OpenVINO names them, such as "BF16"."""
    capabilities: list[str] = CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return capabilities


def _kept_shapes(streams: int) -> dict[str, int]:
    if "torch" not in sys.modules:  # PyTorch's oneDNN would read it, too
        os.environ.setdefault(PRIMITIVES, str(PRIMITIVES_KEPT))  # read when the first product is prepared
    kept = {SHAPES: SHAPES_KEPT if streams == 1 else SHAPES_KEPT_BY_STREAM}
    try:
        CORE.set_property("CPU", kept)
    except RuntimeError:  # it is no documented setting: a release may be without it
        return {}
    return kept


def _settings(options: BackendOptions, capabilities: list[str]) -> dict[str, Any]:
    if options.device not in ("auto", "cpu"):
        raise ConfigError(f"the openvino backend runs on the CPU, not on {options.device}; choose the onnx backend")
    if options.precision not in PRECISIONS:
        raise ConfigError(f"the openvino backend computes in fp32 or bf16, not in {options.precision}")
    if options.precision == "bf16" and "BF16" not in capabilities:
        # Emulated, it is 20 times slower than fp32 and was seen to give wrong logits.
        raise ConfigError("this CPU has no bf16 arithmetic, which openvino needs for bf16; choose fp32")
    return {
        "INFERENCE_PRECISION_HINT": PRECISIONS[options.precision],
        "INFERENCE_NUM_THREADS": options.threads or available_cpus(),
        "NUM_STREAMS": options.streams,
        "PERFORMANCE_HINT": "LATENCY" if options.streams == 1 else "THROUGHPUT",
    }
