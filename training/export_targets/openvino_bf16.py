"""OpenVINO's format for bf16 arithmetic; the weights are kept in float16, which rounds eight times finer than bf16."""

from __future__ import annotations

from pathlib import Path

from app.model.backends import Precision
from app.model.backends.openvino import cpu_capabilities
from training.export_targets import Material, Target
from training.graphs.openvino_ir import convert
from training.parity_thresholds import Thresholds


def write(material: Material, path: Path) -> None:
    """Converts the plain graph."""
    convert(material.graph, path)


def arithmetic() -> Precision:
    """bf16 where this CPU has it; elsewhere the export is measured in float32, and its manifest entry says so."""
    return "bf16" if "BF16" in cpu_capabilities() else "fp32"


TARGET = Target(
    "openvino/openvino_model.xml",
    "bf16",
    Thresholds(0.01, 1e-3, 0.99, 0.97, 0.003),
    write,
    backend="openvino",
    arithmetic=arithmetic(),
)
