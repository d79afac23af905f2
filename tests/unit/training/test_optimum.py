"""The exporter by optimum, which needs an older transformers and so an environment of its own."""

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
from app.model.manifest import read_manifest
from tests.unit.training.export_models import PAIRS, write_tiny

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the extra `optimum` and nothing else; takes minutes."""
    root = tmp_path_factory.mktemp("optimum")
    venv.create(root, with_pip=True)
    found = root / ("Scripts" if os.name == "nt" else "bin")
    pinned = f"torch=={torch.__version__.partition('+')[0]}"
    subprocess.run([found / "python", "-m", "pip", "install", "-q", pinned, f"{ROOT}[optimum]"], check=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_a_directory_exported_by_optimum_scores_as_the_model(programs: Path, model_type: str, tmp_path: Path) -> None:
    """Its graph lies beside the configuration, and is found there."""
    model = write_tiny(model_type, tmp_path / "model")
    command = ["-m", "optimum.exporters.onnx", "--model", str(model), "--task", "text-classification"]
    subprocess.run([programs / "python", *command, str(tmp_path / "out")], check=True, stdout=sys.stderr)
    expected = CrossEncoder.load(model, backend="torch").predict(PAIRS)
    for backend in ("onnx", "openvino"):
        found = CrossEncoder.load(tmp_path / "out", backend).predict(PAIRS)
        assert np.abs(found - expected).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
def test_both_exporters_give_the_model_s_scores_there(programs: Path, model_type: str, tmp_path: Path) -> None:
    """All that the command imports comes with the extra; what was exported there is served here."""
    model = write_tiny(model_type, tmp_path / "model")
    expected = CrossEncoder.load(model, backend="torch").predict(PAIRS)
    for exporter in ("torch", "optimum"):
        out = tmp_path / exporter
        command = ["export", str(model), "--output", str(out), "--exporter", exporter, "--pairs", "40"]
        command += ["--target", "onnx", "onnx-int8-static", "--allow-parity-loss"]
        subprocess.run([programs / "rerank-training", *command], check=True, stdout=sys.stderr, cwd=tmp_path)
        manifest = read_manifest(out)
        assert manifest is not None
        entry = manifest.graphs["onnx/model.onnx"]
        assert (entry["exporter"], entry["within_thresholds"]) == (exporter, True)
        assert entry["versions"]["optimum"].startswith("2.")
        assert entry["versions"]["transformers"].startswith("4.")
        found = CrossEncoder.load(out).predict(PAIRS)
        assert np.abs(found - expected).max() < 1e-5
