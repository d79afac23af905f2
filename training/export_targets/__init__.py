"""Registry of forms that a model can be exported to. A target is one file here plus one line in `TARGETS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from app.errors import ConfigError
from app.model.artifact import Artifact
from app.model.backends import Precision
from app.model.types import Batch
from training.parity_thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Material:
    """What a target is made of: the PyTorch model's directory, its plain float32 graph, and calibration batches."""

    artifact: Artifact
    graph: Path
    calibration: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class Target:
    """One form. `graph` is its place in an artifact, `precision` what its weights and products are rounded to.

    `backend` and `arithmetic` are how it is run to measure it. `write` gets the material and the path of the graph.
    """

    graph: str
    precision: Precision
    thresholds: Thresholds
    write: Callable[[Material, Path], None]
    backend: str = "onnx"
    arithmetic: Precision = "fp32"
    also_runs_on: tuple[str, ...] = ()
    """Further backends that are to compute the graph equally well; where installed, they are measured too."""


TARGETS = {
    "onnx": "training.export_targets.onnx_fp32",
    "onnx-fp16": "training.export_targets.onnx_fp16",
    "onnx-int8": "training.export_targets.onnx_int8",
    "onnx-int8-static": "training.export_targets.onnx_int8_static",
    "openvino-bf16": "training.export_targets.openvino_bf16",
    "openvino-int8": "training.export_targets.openvino_int8",
    "vnni-fp32": "training.export_targets.vnni_fp32",
    "vnni-int16": "training.export_targets.vnni_int16",
    "vnni-int8": "training.export_targets.vnni_int8",
}
EXTRAS = {"onnx": "training", "openvino": "nncf", "vnni": "vnni"}


def load_target(name: str) -> Target:
    """The target registered under `name`. Raises ConfigError if it is unknown or needs what is not installed."""
    if name not in TARGETS:
        raise ConfigError(f"export target {name!r} is unknown; choose one of {', '.join(TARGETS)}")
    try:
        target: Target = import_module(TARGETS[name]).TARGET
    except ModuleNotFoundError as error:
        extra = EXTRAS[name.partition("-")[0]]
        raise ConfigError(
            f"export target {name!r} needs {error.name}, which is not installed: pip install 'crossrank[{extra}]'"
        ) from error
    return target
