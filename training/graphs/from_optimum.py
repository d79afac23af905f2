"""From a PyTorch classifier to a plain ONNX graph, by optimum."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from optimum.exporters.onnx import onnx_export_from_model
from optimum.utils import logging

from app.model.artifact import Artifact
from training.graphs.from_torch import OPSET, traceable


def write_graph(artifact: Artifact, target: Path) -> None:
    """Writes a float32 graph of standard operators with optimum's inputs of the architecture, and `logits`."""
    logging.set_verbosity_error()  # it would rather have a later opset, and says so every time
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, as with PyTorch's exporter
        onnx_export_from_model(
            traceable(artifact),
            scratch,
            opset=OPSET,
            task="text-classification",
            do_validation=False,  # parity is measured on real texts later
        )
        for path in Path(scratch).glob("model.onnx?*"):  # weights of graphs over two gigabytes, which name that file
            path.rename(target.parent / path.name)
        (Path(scratch) / "model.onnx").rename(target)
