"""OpenVINO's format with static int8 by NNCF, calibrated on the user's texts."""

from __future__ import annotations

from pathlib import Path

from training.export_targets import Material, Target
from training.graphs.nncf_int8 import write_int8
from training.parity_thresholds import INT8


def write(material: Material, path: Path) -> None:
    """Quantises the plain graph."""
    write_int8(material.graph, path, material.calibration)


TARGET = Target("openvino/openvino_model_qint8_quantized.xml", "int8", INT8, write, backend="openvino")
