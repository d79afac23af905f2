"""float32 for CPUs with AVX-512, computed as the other forms of the vnni backend are."""

from __future__ import annotations

from pathlib import Path

from training.export_targets import Material, Target
from training.export_targets.onnx_fp32 import TARGET as PLAIN
from training.graphs.fixed_point import write_fixed_point


def write(material: Material, path: Path) -> None:
    """Writes the weights as they are."""
    write_fixed_point(material.artifact, path, 32)


TARGET = Target("vnni/model.vnni", "fp32", PLAIN.thresholds, write, backend="vnni")
