"""Exported graphs against the PyTorch model they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from app.errors import ConfigError
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import read_manifest
from tests.models import write_model
from tests.unit.training.conftest import FACTS, write_lines
from training.export import export
from training.parity import kendall_tau


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibration pairs."""
    path = tmp_path_factory.mktemp("texts") / "sample.jsonl"
    write_lines(path, [{"query": query, "answer": answer} for query, _ in FACTS for _, answer in FACTS])
    return path


def test_an_fp32_graph_gives_the_scores_of_the_model(reranker_dir: Path, texts: Path, tmp_path: Path) -> None:
    figures = export(reranker_dir, tmp_path / "fp32", "fp32", texts)
    assert figures["max_score_difference"] < 1e-5
    assert figures["batch_dependence"] < 1e-5
    reference = CrossEncoder.load(reranker_dir, backend="torch").predict(FACTS)
    for backend in ("onnx", "torch"):
        assert np.abs(CrossEncoder.load(tmp_path / "fp32", backend=backend).predict(FACTS) - reference).max() < 1e-5
    manifest = read_manifest(tmp_path / "fp32")
    assert manifest is not None
    assert manifest.graphs["onnx/model.onnx"]["parity"] == figures


@pytest.mark.parametrize("form", ["static", "dynamic", "blockwise"])
def test_int8_graphs_are_close_and_small(form: str, texts: Path, tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", hidden_size=64)
    figures = export(source, tmp_path / form, "int8", texts, form)
    # Random weights exaggerate; the figures of a trained model are in LOG.md.
    assert figures["mean_score_difference"] < 0.1
    assert figures["kendall_tau"] > 0.8
    assert (tmp_path / form / "onnx" / "model_int8.onnx").is_file()
    assert not list((tmp_path / form).rglob("float.onnx"))
    if form != "dynamic":
        assert figures["batch_dependence"] < 1e-5


def test_int8_graphs_hold_embedding_tables_as_int8(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.quantize.LARGE_TABLE", 1000)
    export(write_model(tmp_path / "source", hidden_size=64), tmp_path / "int8", "int8", texts)
    graph = onnx.load(tmp_path / "int8" / "onnx" / "model_int8.onnx").graph
    types = {table.name: table.data_type for table in graph.initializer}
    assert sum(name.endswith("_int8") and kind == onnx.TensorProto.INT8 for name, kind in types.items()) >= 2
    assert CrossEncoder.load(tmp_path / "int8").predict(FACTS).shape == (len(FACTS),)


def test_too_few_texts_are_refused_and_nothing_is_written(reranker_dir: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "one.jsonl", [{"query": "a", "answer": "b"}])
    with pytest.raises(ConfigError, match="give at least 2"):
        export(reranker_dir, tmp_path / "out", "fp32", tmp_path / "one.jsonl")
    assert not (tmp_path / "out").exists()


def test_kendall_tau_by_hand() -> None:
    first = np.array([1, 2, 3], dtype=np.float32)
    assert kendall_tau(first, first) == 1.0
    assert kendall_tau(first, -first) == -1.0
    assert kendall_tau(first, np.array([1, 3, 2], dtype=np.float32)) == pytest.approx(1 / 3)
