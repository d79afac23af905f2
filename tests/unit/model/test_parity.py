"""Which graphs a parity policy lets through."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.errors import ArtifactError
from app.model.artifact import read_artifact
from app.model.manifest import Manifest, write_manifest
from app.model.parity import ParityPolicy, enforce, faults, is_lossless

GRAPH = "onnx/model.onnx"


def entry(difference: float = 0.05, tau: float = 0.97, **more: Any) -> dict[str, Any]:
    return {"precision": "int8", "parity": {"max_score_difference": difference, "kendall_tau": tau}, **more}


@pytest.mark.parametrize(
    ("graph", "lossless"),
    [
        (entry(1e-3, 0.999), True),
        (entry(2e-3, 0.999), False),
        (entry(1e-3, 0.998), False),
        ({"precision": "fp32"}, False),
        ({"parity": {"max_score_difference": 0.0}}, False),
    ],
)
def test_lossless_is_what_the_figures_prove(graph: dict[str, Any], lossless: bool) -> None:
    assert is_lossless(graph) is lossless


@pytest.mark.parametrize(
    ("graph", "policy", "words"),
    [
        ({}, ParityPolicy("refuse", 1e-9, 1.0), []),
        (entry(), ParityPolicy(), []),
        (entry(within_thresholds=True), ParityPolicy(), []),
        (entry(within_thresholds=False), ParityPolicy(), ["thresholds of its export"]),
        (entry(within_thresholds=False), ParityPolicy("ignore"), []),
        (entry(0.05), ParityPolicy(max_score_difference=0.04), ["differ by up to 0.05, allowed are 0.04"]),
        (entry(0.05), ParityPolicy(max_score_difference=0.05), []),
        (entry(tau=0.97), ParityPolicy(min_kendall_tau=0.98), ["Kendall tau is 0.97, asked for are 0.98"]),
        (entry(0.05, 0.9, within_thresholds=False), ParityPolicy("warn", 0.01, 0.95), ["thresholds", "0.01", "0.95"]),
    ],
)
def test_faults_are_what_the_manifest_admits_to(graph: dict[str, Any], policy: ParityPolicy, words: list[str]) -> None:
    """An older manifest without figures admits to nothing."""
    found = faults(graph, policy)
    assert len(found) == len(words)
    assert all(word in fault for word, fault in zip(words, found, strict=True))


GOOD, BAD = (
    {"max_score_difference": difference, "kendall_tau": tau} for difference, tau in ((1e-4, 0.9999), (0.3, 0.8))
)
STRICT = ParityPolicy("refuse", 0.04, 0.98)


def on_two(onnx: dict[str, float], openvino: dict[str, float]) -> dict[str, Any]:
    """A graph made for ONNX Runtime and measured on both, as the export describes it."""
    return {
        "precision": "int8",
        "parity": onnx,
        "parity_on": {"openvino": openvino},
        "runtimes": ["onnx", *(["openvino"] if openvino is GOOD else [])],
        "within_thresholds": onnx is GOOD,
    }


@pytest.mark.parametrize(("onnx", "openvino"), [(GOOD, BAD), (BAD, GOOD)])
def test_a_graph_is_judged_by_the_figures_of_the_runtime_that_serves_it(
    onnx: dict[str, float], openvino: dict[str, float]
) -> None:
    """Where that was measured; elsewhere, and where no runtime is named, by those of the one that it was made for."""
    graph = on_two(onnx, openvino)
    for backend, figures in (("onnx", onnx), ("openvino", openvino), ("vnni", onnx), ("", onnx)):
        assert is_lossless(graph, backend) is (figures is GOOD)
        assert len(faults(graph, STRICT, backend)) == (0 if figures is GOOD else 3)
        assert len(faults(graph, ParityPolicy(), backend)) == (0 if figures is GOOD else 1)


def test_the_runtime_that_is_refused_is_named(reranker_dir: Path, tmp_path: Path) -> None:
    """The other one serves the same graph."""
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    write_manifest(model, Manifest(graphs={GRAPH: on_two(GOOD, BAD)}), [GRAPH])
    artifact = read_artifact(model)
    enforce(artifact, GRAPH, STRICT, "onnx")
    with pytest.raises(
        ArtifactError, match=r"model\.onnx on openvino: it missed .* differ by up to 0\.3, .* tau is 0\.8"
    ):
        enforce(artifact, GRAPH, STRICT, "openvino")


@pytest.fixture
def unfaithful(reranker_dir: Path, tmp_path: Path) -> Path:
    """A model whose manifest says that its graph missed its thresholds."""
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    write_manifest(model, Manifest(graphs={GRAPH: entry(within_thresholds=False)}), [GRAPH])
    return model


def test_refusing_names_the_graph_and_the_remedies(unfaithful: Path) -> None:
    artifact = read_artifact(unfaithful)
    with pytest.raises(ArtifactError, match=r"onnx/model\.onnx: it missed .*; export .* or set --parity-policy warn"):
        enforce(artifact, GRAPH, ParityPolicy("refuse"))


@pytest.mark.parametrize(("action", "lines"), [("warn", 1), ("ignore", 0)])
def test_warning_is_one_line_in_the_log(
    unfaithful: Path, caplog: pytest.LogCaptureFixture, action: Any, lines: int
) -> None:
    with caplog.at_level(logging.WARNING):
        enforce(read_artifact(unfaithful), GRAPH, ParityPolicy(action))
    assert len(caplog.records) == lines


def test_a_model_without_a_manifest_is_no_ones_business(reranker_dir: Path) -> None:
    enforce(read_artifact(reranker_dir), GRAPH, ParityPolicy("refuse", 1e-9, 1.0))
