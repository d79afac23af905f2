"""Artifacts of optimum, which needs an older transformers and so an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

from app.model.cross_encoder import CrossEncoder
from tests.unit.training.export_models import PAIRS, write_tiny


@pytest.fixture(scope="module")
def optimum_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with the requirement of the extra `optimum`; takes minutes."""
    root = tmp_path_factory.mktemp("optimum")
    venv.create(root, with_pip=True)
    python = root / ("Scripts" if os.name == "nt" else "bin") / "python"
    pinned = f"torch=={torch.__version__.partition('+')[0]}"
    subprocess.run([python, "-m", "pip", "install", "-q", pinned, "optimum[onnxruntime]>=1.24"], check=True)
    return python


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_a_directory_exported_by_optimum_scores_as_the_model(
    optimum_python: Path, model_type: str, tmp_path: Path
) -> None:
    """Its graph lies beside the configuration, and is found there."""
    model = write_tiny(model_type, tmp_path / "model")
    command = ["-m", "optimum.exporters.onnx", "--model", str(model), "--task", "text-classification"]
    subprocess.run([optimum_python, *command, str(tmp_path / "out")], check=True, stdout=sys.stderr)
    expected = CrossEncoder.load(model, backend="torch").predict(PAIRS)
    for backend in ("onnx", "openvino"):
        found = CrossEncoder.load(tmp_path / "out", backend).predict(PAIRS)
        assert np.abs(found - expected).max() < 1e-5
