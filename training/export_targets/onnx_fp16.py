"""ONNX in float16 for GPUs, fused as in float32, and skip connections with their layer norms besides."""

from __future__ import annotations

from pathlib import Path

from training.export_targets import Material, Target
from training.graphs.fusion import fuse_fp16
from training.parity_thresholds import Thresholds


def write(material: Material, path: Path) -> None:
    """Fuses the plain graph and converts it."""
    fuse_fp16(material.artifact, material.graph, path)


TARGET = Target("onnx/model_fp16.onnx", "fp16", Thresholds(0.01, 1e-3, 0.99, 0.97, 0.003), write)
