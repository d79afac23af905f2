"""ONNX with static int8 in standard operators (QDQ): one file that ONNX Runtime and OpenVINO both run in int8."""

from __future__ import annotations

from pathlib import Path

import onnx

from training.export_targets import Material, Target
from training.graphs.qdq import quantize_products
from training.graphs.tables import quantize_tables
from training.parity_thresholds import INT8


def write(material: Material, path: Path) -> None:
    """Quantises products and embedding tables of the plain graph."""
    # Not of the fused one: both runtimes fuse better themselves around int8 products (measured, see LOG.md).
    model = onnx.load(str(material.graph))
    quantize_products(model, material.calibration)
    quantize_tables(model)
    onnx.save(model, str(path))


TARGET = Target("onnx/model_int8.onnx", "int8", INT8, write, also_runs_on=("openvino",))
