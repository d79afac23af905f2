"""What turns a model into a plain ONNX graph."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from app.errors import ConfigError
from app.model.artifact import read_artifact
from app.model.manifest import read_manifest
from training.__main__ import main
from training.export import ExportOptions, export
from training.graphs.from_torch import traceable, write_graph


def test_an_unknown_exporter_is_refused_with_the_known_ones(
    reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    command = ["export", str(reranker_dir), "--output", str(tmp_path / "out"), "--exporter", "tf2onnx"]
    assert main(command) == 2
    assert "exporter 'tf2onnx' is unknown; choose one of torch, optimum" in capsys.readouterr().err


def test_optimum_where_it_is_not_installed_names_the_remedies(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot share an environment with the other extras."""
    monkeypatch.setitem(sys.modules, "optimum", None)
    with pytest.raises(ConfigError, match=r"pip install 'crossrank\[optimum\]' in an environment of its own, .* torch"):
        export(reranker_dir, tmp_path / "out", options=ExportOptions(exporter="optimum"))
    assert not list(tmp_path.iterdir())


def test_what_optimum_writes_is_fused_and_measured_as_any_graph(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for it, since it needs another transformers: a graph that lies among other files."""
    asked: dict[str, Any] = {}

    def fake(model: Any, output: str, **options: Any) -> None:
        asked.update(options, kind=type(model).__name__)
        write_graph(read_artifact(reranker_dir), Path(output) / "model.onnx")
        (Path(output) / "config.json").write_text("{}")

    def package(name: str, **content: object) -> None:
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)

    for name in ("optimum", "optimum.exporters"):
        package(name)
    package("optimum.exporters.onnx", onnx_export_from_model=fake)
    package("optimum.utils", logging=SimpleNamespace(set_verbosity_error=lambda: None))
    monkeypatch.delitem(sys.modules, "training.graphs.from_optimum", raising=False)
    for exporter in ("torch", "optimum"):
        export(reranker_dir, tmp_path / exporter, ["onnx"], ExportOptions(pairs=20, exporter=exporter))
        manifest = read_manifest(tmp_path / exporter)
        assert manifest is not None
        assert manifest.graphs["onnx/model.onnx"]["exporter"] == exporter
    monkeypatch.delitem(sys.modules, "training.graphs.from_optimum")
    assert (asked["kind"], asked["task"]) == ("BertForSequenceClassification", "text-classification")
    graphs = [(tmp_path / exporter / "onnx/model.onnx").read_bytes() for exporter in ("torch", "optimum")]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize(("release", "cut"), [("5.0.0", True), ("4.57.6", False)])
def test_layers_of_an_older_transformers_stay_whole(
    release: str, cut: bool, reranker_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They give tuples, of which the encoder takes the first: it would be the first row of a tensor."""
    monkeypatch.setattr("training.graphs.first_token.transformers", SimpleNamespace(__version__=release))
    last = traceable(read_artifact(reranker_dir)).bert.encoder.layer[-1]
    assert ("forward" in vars(last)) is cut
