"""ONNX in float32 with attention, layer norm and GELU as one operator each."""

from __future__ import annotations

from pathlib import Path

from training.export_targets import Material, Target
from training.graphs.fusion import fuse
from training.parity_thresholds import Thresholds


def write(material: Material, path: Path) -> None:
    """Fuses the plain graph."""
    fuse(material.artifact, material.graph, path)


TARGET = Target("onnx/model.onnx", "fp32", Thresholds(1e-4, 1e-5, 0.9995, 0.995, 0.0005), write)
