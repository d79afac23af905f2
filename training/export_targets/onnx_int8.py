"""ONNX with dynamic int8: nothing to calibrate, but a row's scores depend on what shares its batch."""

from __future__ import annotations

from pathlib import Path

import onnx

from training.export_targets import Material, Target
from training.graphs.dynamic import quantize_dynamically
from training.graphs.tables import quantize_tables
from training.parity_thresholds import INT8


def write(material: Material, path: Path) -> None:
    """Quantises products and embedding tables of the plain graph."""
    quantize_dynamically(material.graph, path)
    model = onnx.load(str(path))
    quantize_tables(model)
    onnx.save(model, str(path))


TARGET = Target("onnx/model_quantized.onnx", "int8", INT8, write)
