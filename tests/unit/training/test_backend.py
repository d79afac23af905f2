"""The export functions that scripts call."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import sentence_transformers.backend as theirs

import training.backend as ours
from app.model.backends import BackendOptions
from app.model.cross_encoder import CrossEncoder as GraphRunner
from tests.unit.training.conftest import FACTS, write_lines
from tests.unit.training.export_models import write_tiny
from training.cross_encoder import CrossEncoder

NAMES = [
    "export_dynamic_quantized_onnx_model",
    "export_optimized_onnx_model",
    "export_static_quantized_openvino_model",
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT."""
    return write_tiny("bert", tmp_path_factory.mktemp("backend") / "model", hidden_size=64)


def scores(directory: Path, backend: str, graph: str) -> np.ndarray:
    return GraphRunner.load(directory, backend, BackendOptions(graph=graph, threads=1)).predict(FACTS)


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_those_of_the_library(name: str) -> None:
    """Names, order and defaults."""
    parameters = [
        [(p.name, p.default) for p in inspect.signature(getattr(module, name)).parameters.values()]
        for module in (ours, theirs)
    ]
    assert parameters[0] == parameters[1]


@pytest.mark.parametrize(
    ("name", "config", "file", "tolerance"),
    [
        ("export_dynamic_quantized_onnx_model", "avx512_vnni", "onnx/model_qint8_avx512_vnni.onnx", 0.2),
        ("export_dynamic_quantized_onnx_model", "avx2", "onnx/model_quint8_avx2.onnx", 0.3),
        ("export_optimized_onnx_model", "O2", "onnx/model_O2.onnx", 1e-5),
        ("export_optimized_onnx_model", "O4", "onnx/model_O4.onnx", 0.02),
        ("export_static_quantized_openvino_model", None, "openvino/openvino_model_qint8_quantized.xml", 0.3),
    ],
)
def test_graphs_are_written_beside_the_model(
    model_dir: Path, tmp_path: Path, name: str, config: Any, file: str, tolerance: float
) -> None:
    """Under the library's names, with scores close to the model's."""
    model = CrossEncoder(str(model_dir), device="cpu")
    model.save_pretrained(str(tmp_path))
    getattr(ours, name)(model, config, str(tmp_path))
    found = scores(tmp_path, "openvino" if file.endswith("xml") else "onnx", file)
    assert np.abs(found - model.predict(FACTS)).max() < tolerance
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_avx2_weights_are_unsigned_and_of_seven_bits(model_dir: Path, tmp_path: Path) -> None:
    """Sums of two products of eight bits overflow there."""
    ours.export_dynamic_quantized_onnx_model(CrossEncoder(str(model_dir)), "avx2", str(tmp_path))
    graph = onnx.load(tmp_path / "onnx/model_quint8_avx2.onnx").graph
    codes = [onnx.numpy_helper.to_array(entry) for entry in graph.initializer if entry.name.endswith("_quantized")]
    assert codes
    assert all(matrix.dtype == np.uint8 and np.ptp(matrix.astype(int), axis=0).max() <= 128 for matrix in codes)


def test_a_model_loaded_from_a_graph_is_quantised_from_it(model_dir: Path, tmp_path: Path) -> None:
    """As scripts for sentence-transformers do, under a suffix of their own."""
    ours.export_optimized_onnx_model(CrossEncoder(str(model_dir)), "O2", str(tmp_path))
    CrossEncoder(str(model_dir)).save_pretrained(str(tmp_path))
    loaded = CrossEncoder(str(tmp_path), backend="onnx", model_kwargs={"file_name": "model_O2.onnx"})
    ours.export_dynamic_quantized_onnx_model(loaded, "avx512_vnni", str(tmp_path), file_suffix="mine")
    difference = np.abs(scores(tmp_path, "onnx", "onnx/model_mine.onnx") - loaded.predict(FACTS)).max()
    assert 0 < difference < 0.2


def test_static_quantisation_is_calibrated_on_a_local_table(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the dataset's arguments or none of them."""
    seen: list[int] = []
    monkeypatch.setattr(
        "training.graphs.nncf_int8.write_int8", lambda source, target, rows: (seen.append(len(rows)), target.touch())
    )
    write_lines(tmp_path / "texts.jsonl", [{"text": query} for query, _ in FACTS])
    data = [str(tmp_path / "texts.jsonl"), "default", "train", "text"]
    ours.export_static_quantized_openvino_model(CrossEncoder(str(model_dir)), None, str(tmp_path / "out"), *data)
    assert seen == [len(FACTS)]
    with pytest.raises(ValueError, match="give all of dataset_name"):
        ours.export_static_quantized_openvino_model(CrossEncoder(str(model_dir)), None, str(tmp_path), data[0])


def test_push_to_hub_uploads_what_would_be_written(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes nothing here."""
    calls: list[dict[str, Any]] = []

    def upload(**arguments: Any) -> None:
        files = sorted(path.name for path in arguments.pop("folder_path").rglob("*") if path.is_file())
        calls.append({**arguments, "files": files})

    monkeypatch.setattr("huggingface_hub.upload_folder", upload)
    monkeypatch.chdir(tmp_path)
    model = CrossEncoder(str(model_dir))
    ours.export_optimized_onnx_model(model, "O2", "owner/name", push_to_hub=True, create_pr=True)
    assert calls == [
        {
            "repo_id": "owner/name",
            "commit_message": "Add onnx/model_O2.onnx",
            "create_pr": True,
            "files": ["model_O2.onnx"],
        }
    ]
    assert not list(tmp_path.iterdir())


def test_unknown_settings_are_refused_with_the_known_ones(model_dir: Path, tmp_path: Path) -> None:
    model = CrossEncoder(str(model_dir))
    with pytest.raises(ValueError, match="'sse' must be one of arm64, avx2, avx512, avx512_vnni"):
        ours.export_dynamic_quantized_onnx_model(model, "sse", str(tmp_path))
    with pytest.raises(ValueError, match="'O5' must be one of O1, O2, O3, O4"):
        ours.export_optimized_onnx_model(model, "O5", str(tmp_path))
    with pytest.raises(ValueError, match="quantization_config must be None"):
        ours.export_static_quantized_openvino_model(model, {}, str(tmp_path))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
