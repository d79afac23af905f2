"""OpenVINO's own format."""

from __future__ import annotations

from pathlib import Path

import openvino as ov


def convert(source: Path, target: Path) -> None:
    """Writes an ONNX graph in OpenVINO's format, as `save` does."""
    save(ov.Core().read_model(source), target)


def save(model: ov.Model, target: Path) -> None:
    """Writes the .xml with its .bin; float weights are stored in 16 bits, arithmetic is chosen when they are loaded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, target, compress_to_fp16=True)
