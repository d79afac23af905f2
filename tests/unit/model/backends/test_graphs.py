"""Which graph is loaded, and with which files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.errors import ArtifactError
from app.model.artifact import read_artifact
from app.model.backends import BackendOptions, backend_class
from app.model.backends.graphs import ONNX_GRAPHS, choose_graph, find_graph, graph_files
from app.model.manifest import Manifest, write_manifest


@pytest.fixture
def model(reranker_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny reranker whose graph a test may move."""
    return Path(shutil.copytree(reranker_dir, tmp_path / "model"))


def move(model: Path, *names: str) -> None:
    """Leaves copies of the graph under these names only."""
    graph = (model / "onnx/model.onnx").read_bytes()
    shutil.rmtree(model / "onnx")
    for name in names:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(graph)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("name", ONNX_GRAPHS)
def test_every_usual_name_is_found(model: Path, backend: str, name: str) -> None:
    """Optimum's and sentence-transformers' names, plain and quantised."""
    move(model, name)
    loaded = backend_class(backend)(read_artifact(model), BackendOptions())
    assert loaded.source == name


def test_full_precision_is_preferred_to_quantised() -> None:
    """And the order among the others is the table's."""
    assert choose_graph(["onnx/model_int8.onnx", "onnx/model.onnx"], ONNX_GRAPHS) == "onnx/model.onnx"
    assert choose_graph(list(reversed(ONNX_GRAPHS)), ONNX_GRAPHS) == ONNX_GRAPHS[0]


def test_a_single_graph_of_another_name_is_taken() -> None:
    """There is nothing to confuse it with."""
    assert choose_graph(["config.json", "onnx/reranker.onnx"], ONNX_GRAPHS) == "onnx/reranker.onnx"
    assert choose_graph(["a.onnx", "b.onnx"], ONNX_GRAPHS) == ""


def test_the_graph_that_is_asked_for_is_taken(model: Path) -> None:
    """Before all preferences."""
    shutil.copy(model / "onnx/model.onnx", model / "onnx/special.onnx")
    assert find_graph(read_artifact(model), ONNX_GRAPHS, "onnx/special.onnx") == "onnx/special.onnx"
    assert choose_graph(["onnx/model.onnx"], ONNX_GRAPHS, "onnx/special.onnx") == ""


def test_weights_beside_the_graph_belong_to_it_and_come_first() -> None:
    """A download that has the graph has everything, so the graph comes last."""
    names = ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1", "onnx/model_int8.onnx", ".data"]
    assert graph_files(names, "onnx/model.onnx") == [
        "onnx/model.onnx_data",
        "onnx/model.onnx_data_1",
        "onnx/model.onnx",
    ]
    assert graph_files(["a.bin", "a.xml", "b.bin"], "a.xml") == ["a.bin", "a.xml"]
    assert graph_files(names, "") == []


def test_several_unknown_graphs_are_listed(model: Path) -> None:
    """The operator chooses."""
    move(model, "a.onnx", "onnx/b.onnx")
    with pytest.raises(ArtifactError, match=r"several graphs \(a\.onnx, onnx/b\.onnx\); name one with --graph"):
        find_graph(read_artifact(model), ONNX_GRAPHS)


@pytest.mark.parametrize("wanted", ["", "onnx/other.onnx"])
def test_a_missing_graph_names_the_file_and_the_remedies(model: Path, wanted: str) -> None:
    """The path where it was expected, how to make it, and how to do without."""
    move(model)
    missing = wanted or "onnx/model.onnx"
    with pytest.raises(ArtifactError, match=f"{missing}: missing; export the model with .* or use the torch backend"):
        find_graph(read_artifact(model), ONNX_GRAPHS, wanted)


def test_external_weights_are_checked_against_their_digest(model: Path) -> None:
    """They hold the numbers; the graph alone proves nothing."""
    data = model / "onnx/model.onnx_data"
    data.write_bytes(b"weights")
    write_manifest(model, Manifest(), ["onnx/model.onnx_data"])
    data.write_bytes(b"other")
    with pytest.raises(ArtifactError, match=r"model\.onnx_data: differs from its digest"):
        find_graph(read_artifact(model), ONNX_GRAPHS)
