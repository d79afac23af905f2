"""ONNX Runtime: CPU, CUDA and TensorRT by execution provider. The graph itself determines the precision."""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: it would report to its maker
import onnxruntime as ort

from app.errors import ArtifactError, ConfigError
from app.model.artifact import Artifact
from app.model.backends import BackendOptions
from app.model.backends.failures import translated
from app.model.backends.graphs import ONNX_GRAPHS, choose_graph, find_graph, graph_files
from app.model.cpus import available_cpus
from app.model.messages import first_line
from app.model.types import Batch, FloatArray

DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class OnnxBackend:
    """Runs an exported graph; feeds exactly the inputs that the graph declares."""

    name = "onnx"

    def __init__(self, artifact: Artifact, options: BackendOptions) -> None:
        self.source = find_graph(artifact, ONNX_GRAPHS, options.graph)
        path = artifact.directory / self.source
        providers = _providers(options)
        try:
            self._session = ort.InferenceSession(str(path), _session_options(options), providers)
        except Exception as error:  # onnxruntime raises a class of its own per status code
            raise ArtifactError(
                f"{path}: ONNX Runtime cannot load it ({first_line(error)}); export the model again"
            ) from error
        self._inputs = {node.name: DTYPES.get(node.type, np.int64) for node in self._session.get_inputs()}
        if unknown := set(self._inputs) - INPUTS:
            raise ArtifactError(f"{path}: takes unknown inputs {sorted(unknown)}; export a sequence classifier")
        outputs = [node.name for node in self._session.get_outputs()]
        self._output = "logits" if "logits" in outputs else outputs[0]
        self.device = _device(self._session.get_providers()[0], options)

    @classmethod
    def select_weights(cls, names: list[str], options: BackendOptions) -> list[str]:
        """The preferred graph among `names` with its external data."""
        return graph_files(names, choose_graph(names, ONNX_GRAPHS, options.graph))

    def forward(self, batch: Batch) -> FloatArray:
        """Logits (rows, labels) in float32. Raises DeviceError, BackendOutOfMemory."""
        try:
            feeds = {name: batch[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}
            (logits,) = self._session.run([self._output], feeds)
        except Exception as error:  # onnxruntime raises a class of its own per status code
            if (ours := translated(error, "ONNX Runtime")) is not None:
                raise ours from error
            raise
        return np.asarray(logits, dtype=np.float32)


def _session_options(options: BackendOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or available_cpus()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    # Idle threads that spin take the cores from whoever shares them: the event loop, the tokeniser, other services.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def _providers(options: BackendOptions) -> list[tuple[str, dict[str, str]]]:
    available = ort.get_available_providers()
    missing = [name for name in options.providers if name not in available]
    if missing:
        raise ConfigError(f"execution provider {missing[0]} is not in this onnxruntime ({', '.join(available)})")
    names = list(options.providers) or _providers_of_device(options.device, available)
    if any(map(_on_gpu, names)) and hasattr(ort, "preload_dlls"):
        # Finds the CUDA libraries of PyPI packages, which nothing else has loaded where torch is absent.
        ort.preload_dlls()
    return [(name, _provider_options(name, options.device.partition(":")[2])) for name in names]


def _provider_options(name: str, index: str) -> dict[str, str]:
    settings = {"device_id": index} if index and _on_gpu(name) else {}
    if name == "CUDAExecutionProvider":
        settings["use_tf32"] = "0"  # else a float32 graph loses 13 bits without being asked
    return settings


def _providers_of_device(device: str, available: list[str]) -> list[str]:
    if device not in ("auto", "cpu", "cuda") and not device.startswith("cuda:"):
        raise ConfigError(f"device {device!r} is unknown; choose auto, cpu, cuda or cuda:N")
    has_gpu = "CUDAExecutionProvider" in available
    if device.startswith("cuda") and not has_gpu:
        raise ConfigError("device cuda needs onnxruntime-gpu: pip install 'crossrank[gpu]' in place of [cpu]")
    if device == "cpu" or not has_gpu:
        return ["CPUExecutionProvider"]
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _on_gpu(provider: str) -> bool:
    return provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider")


def _device(started: str, options: BackendOptions) -> str:
    """Where the session runs. Raises ConfigError where ONNX Runtime fell back to the CPU behind our back."""
    if options.providers and started != options.providers[0]:
        raise ConfigError(f"execution provider {options.providers[0]} did not start; check its driver and libraries")
    if options.device.startswith("cuda") and not options.providers and not _on_gpu(started):
        raise ConfigError(f"device {options.device} did not start; check the CUDA driver and libraries, or use cpu")
    if _on_gpu(started):
        return options.device if options.device.startswith("cuda:") else "cuda"
    return started.removesuffix("ExecutionProvider").lower()
