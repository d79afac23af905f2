"""Where a model may run: which runtimes are installed, whether there is a GPU, and which files that takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from app.errors import ConfigError
from app.model.backends import BackendOptions, backend_class
from app.model.backends.graphs import graph_files
from app.model.candidates import RUNTIMES, default_graph
from app.model.cpus import cpu_model

PACKAGES = {
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch", "transformers"),
    "vnni": ("numba", "safetensors"),
}
GRAPH_FORMATS = tuple({suffix for suffixes in RUNTIMES.values() for suffix in suffixes})
VNNI = "avx512_vnni"
GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""What a GPU's driver leaves in the file system, so that a machine without one loads no runtime to find out."""


def installed_runtimes() -> list[str]:
    """The backends whose packages, and for vnni the processor's instructions, are there; none is imported."""
    found = [name for name, packages in PACKAGES.items() if all(find_spec(package) for package in packages)]
    return [name for name in found if name != "vnni" or VNNI in cpu_model().split()]


def runtime_versions(backends: Iterable[str]) -> dict[str, str]:
    """Versions of the backends' runtimes by package."""
    packages = [package for backend in backends for package in PACKAGES[backend]]
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    for distribution in (package, f"{package}-gpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "unknown"


def readable(names: Sequence[str], runtimes: Sequence[str]) -> list[str]:
    """The files among `names` but for graphs that none of the runtimes reads."""
    formats = tuple(suffix for name in runtimes for suffix in RUNTIMES.get(name, ()))
    return [name for name in names if not name.endswith(GRAPH_FORMATS) or name.endswith(formats)]


def select_weights(backend: str, names: list[str], options: BackendOptions) -> list[str]:
    """The files of a repository that a backend, or `auto`, needs; empty if there are none."""
    if backend != "auto":
        return backend_class(backend).select_weights(names, options)
    runtimes = installed_runtimes()
    graph = default_graph(readable(names, runtimes), options.graph)
    if graph or "torch" not in runtimes:
        return graph_files(names, graph)
    return backend_class("torch").select_weights(names, options)


def fixed_backend(names: Sequence[str], options: BackendOptions, gpu_devices: Sequence[Path] = GPU_DEVICES) -> str:
    """The backend that `auto` means without measuring, or "" where runtimes compete on the CPU.

    A GPU is taken where a runtime that is installed can use it: ONNX Runtime for a graph, else PyTorch. An artifact
    without a graph is PyTorch's. Raises ConfigError where no runtime is installed.
    """
    runtimes = installed_runtimes()
    if not runtimes:
        raise ConfigError("no runtime is installed: pip install 'crossrank[cpu]', or [gpu], [openvino], [torch]")
    graph = default_graph(readable(names, runtimes), options.graph)
    if options.providers:
        return "onnx"
    if options.device != "cpu" and any(path.exists() for path in gpu_devices):
        if graph.endswith(".onnx") and "onnx" in runtimes and _onnx_runtime_has_cuda():
            return "onnx"
        if "torch" in runtimes and _torch_has_cuda() and backend_class("torch").select_weights(list(names), options):
            return "torch"
    if options.device.startswith("cuda") or not graph:
        return "torch" if "torch" in runtimes and not graph else "onnx"
    return ""


def _onnx_runtime_has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _torch_has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
