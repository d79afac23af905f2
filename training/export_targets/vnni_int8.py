"""Products of 8 bits for CPUs with AVX-512 VNNI, with a scale for every 128 numbers of a row."""

from __future__ import annotations

from pathlib import Path

from training.export_targets import Material, Target
from training.graphs.fixed_point import write_fixed_point
from training.parity_thresholds import INT8


def write(material: Material, path: Path) -> None:
    """Rounds the weights for the inputs that the calibration texts give them; activations when they are known."""
    write_fixed_point(material.artifact, path, 8, material.calibration)


TARGET = Target("vnni/model_int8.vnni", "int8", INT8, write, backend="vnni")
