"""`rerank-training export`: a trained model as an artifact with an ONNX graph, its parity measured."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import onnxruntime

from app.errors import ConfigError
from app.model.backends import BackendOptions
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import Manifest
from app.model.types import Encoded, EncodeOptions
from training.data.pairs import read_pairs
from training.onnx_graph import export_graph
from training.parity import Figures, measure_parity
from training.publish import copy_tokenizer, publishing, seal

GRAPHS = {"fp32": "onnx/model.onnx", "int8": "onnx/model_int8.onnx"}
MAX_TEXTS = 256
"""Pairs used to calibrate, and as many others to measure with."""
SAMPLE_TOKENS = 256


def export(model: Path, output: Path, precision: str, texts: Path, form: str = "static") -> Figures:
    """Writes the artifact `output` from the PyTorch directory `model` and returns the graph's parity figures.

    `texts` are pairs of the kind that the model will see: every second one calibrates, the others measure.
    An fp32 artifact holds the PyTorch weights too, an int8 one is as small as it can be. Raises ConfigError,
    ArtifactError or DataError.
    """
    reference = CrossEncoder.load(model, backend="torch")
    rows = _rows(reference, texts)
    name = GRAPHS[precision]
    with publishing(output) as draft:
        shutil.copyfile(model / "config.json", draft / "config.json")
        copy_tokenizer(model, draft)
        (draft / "onnx").mkdir()
        _write_graph(reference, draft / name, precision, form, rows[0::2][:MAX_TEXTS])
        if precision == "fp32":
            for weights in model.glob("*.safetensors*"):
                shutil.copyfile(weights, draft / weights.name)
        exported = CrossEncoder.load(draft, options=BackendOptions(graph=name))
        figures = measure_parity(reference, exported, rows[1::2][:MAX_TEXTS])
        seal(draft, _manifest(reference, name, precision, form, figures))
    return figures


def export_command(options: argparse.Namespace) -> int:
    """Runs the command line's `export`."""
    figures = export(options.model, options.output, options.precision, options.texts, options.form)
    for name, value in figures.items():
        print(f"{name:24}{value:.6g}")
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    print(f"{'megabytes':24}{size / 1e6:.1f}\nartifact written to {options.output}")
    return 0


def _rows(reference: CrossEncoder, texts: Path) -> list[Encoded]:
    pairs = [(pair.query, pair.document) for pair in read_pairs(texts, "train")]
    if len(pairs) < 2:
        raise ConfigError(f"{texts}: has {len(pairs)} pair(s); give at least 2, better some hundred")
    options = EncodeOptions(max_length=min(SAMPLE_TOKENS, reference.max_length))
    return reference.tokenizer.encode_pairs(pairs, options)


def _write_graph(reference: CrossEncoder, path: Path, precision: str, form: str, sample: list[Encoded]) -> None:
    if precision == "fp32":
        export_graph(reference.artifact, path)
        return
    from training.quantize import quantize

    source = path.with_name("float.onnx")
    export_graph(reference.artifact, source)
    # One row per batch: padding is computed but never read, and its activations would widen the scales.
    quantize(source, path, form, [reference.pad([row]) for row in sample])
    source.unlink()


def _manifest(reference: CrossEncoder, name: str, precision: str, form: str, figures: Figures) -> Manifest:
    artifact = reference.artifact
    own = artifact.manifest or Manifest(artifact.max_length, artifact.activation, list(artifact.labels))
    graph = {"precision": precision, "made_with": f"onnxruntime {onnxruntime.__version__}", "parity": figures}
    if precision == "int8":
        graph["form"] = form
    return replace(own, graphs={name: graph})
