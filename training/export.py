"""`rerank-training export`: a model as an artifact with exported graphs, each measured against the original."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers.utils import logging

from app.errors import ConfigError
from app.model.artifact import Artifact
from app.model.backends import BackendOptions
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions
from app.model.manifest import Manifest
from app.model.placement import installed_runtimes
from app.model.types import Batch, Encoded, FloatArray
from training.errors import ParityError
from training.export_entry import figures_of, graph_entry
from training.export_targets import Material, Target, load_target
from training.graphs.exporters import load_exporter
from training.parity import Figures, measure_parity
from training.parity_table import parity_table
from training.parity_texts import Lists, arrange, read_texts
from training.parity_thresholds import Thresholds
from training.publish import copy_tokenizer, publishing, require_free, seal

CALIBRATION_TOKENS = 2048
"""Longer texts calibrate up to here: the activations of all layers for a text are in memory at the same time."""
LIBRARY_FILES = ("config_sentence_transformers.json", "modules.json", "sentence_bert_config.json")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How an export is measured and judged.

    `texts` is a table of pairs or a BEIR directory (of which `split` is read), None the bundled sample; about
    `pairs` of its pairs calibrate and as many others measure. `thresholds` replaces single fields of the targets'
    own. `allow_parity_loss` publishes graphs that exceed them, marked in the manifest. `exporter` is what turns the
    model into the plain graph that others are made of: torch or optimum.
    """

    texts: str | Path | None = None
    split: str = "test"
    pairs: int = 256
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    allow_parity_loss: bool = False
    exporter: str = "torch"


@dataclass(frozen=True, slots=True)
class Sample:
    """Encoded inputs: what `read_texts` gave, ready for the models, and the reference's logits of `rows`."""

    name: str
    calibration: list[Batch]
    rows: list[Encoded]
    lists: Lists
    expected: FloatArray


def export(
    model: str | Path,
    output: Path,
    targets: Sequence[str] = ("onnx",),
    options: ExportOptions | None = None,
    hub: HubOptions | None = None,
) -> dict[str, Figures]:
    """Writes the artifact `output` with one graph per target, and returns each target's parity figures.

    `model` is a directory or Hub id with PyTorch weights; they are copied where `onnx` is a target. Raises
    ParityError, and publishes nothing, when a graph exceeds its thresholds; ConfigError, ArtifactError or DataError.
    """
    options = options or ExportOptions()
    require_free(output)
    chosen = {name: load_target(name) for name in dict.fromkeys(targets)}
    load_exporter(options.exporter)  # else it would be missed only after the texts were scored
    reference = CrossEncoder.load(model, backend="torch", hub=hub)
    sample = _sample(reference, options)
    with publishing(output) as draft, tempfile.TemporaryDirectory() as scratch:
        _copy_model(reference.artifact.directory, draft, weights="onnx" in chosen)
        graphs = _write(reference, draft, Path(scratch), chosen, sample, options)
        seal(draft, replace(_manifest(reference.artifact), graphs=graphs))
        if not options.allow_parity_loss:
            _refuse_loss(graphs, reference.artifact.activation)
    return figures_of(graphs)


def export_command(options: argparse.Namespace) -> int:
    """Runs the command line's `export`."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # those of loading weights would bury our own
    names = ("max_score_difference", "mean_score_difference", "min_kendall_tau", "min_top10_overlap", "max_ndcg10_loss")
    thresholds = {name: getattr(options, name) for name in names}
    how = ExportOptions(
        options.texts, options.split, options.pairs, thresholds, options.allow_parity_loss, options.exporter
    )
    try:
        figures = export(options.model, options.output, options.target, how)
    except ParityError as error:
        print(parity_table(error.figures))
        raise
    print(parity_table(figures))
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    print(f"artifact of {size / 1e6:.1f} MB written to {options.output}")
    return 0


def _sample(reference: CrossEncoder, options: ExportOptions) -> Sample:
    if options.pairs < 2:
        raise ConfigError(f"{options.pairs} pairs: give at least 2, better some hundred")
    texts = read_texts(options.texts, options.split)
    calibrating, measuring = texts.halves()
    short = replace(reference.options, max_length=min(CALIBRATION_TOKENS, reference.max_length))
    pairs, lists = arrange(measuring, options.pairs)
    # One row per batch: padding is computed but never read, and its activations would widen the scales.
    calibration = reference.tokenizer.encode_pairs(calibrating.pairs(options.pairs), short)
    rows = reference.tokenizer.encode_pairs(pairs, reference.options)  # cut as they will be served
    return Sample(texts.name, [reference.pad([row]) for row in calibration], rows, lists, reference.logits(rows))


def _write(
    reference: CrossEncoder,
    draft: Path,
    scratch: Path,
    targets: Mapping[str, Target],
    sample: Sample,
    options: ExportOptions,
) -> dict[str, dict[str, Any]]:
    """Writes and measures every target; returns the manifest's `graphs`."""
    material = Material(reference.artifact, scratch / "plain.onnx", sample.calibration)
    graphs = {}
    with tqdm(total=2 * len(targets) + 1, desc="export", unit="step") as progress:
        load_exporter(options.exporter)(reference.artifact, material.graph)
        progress.update()
        for name, target in targets.items():
            progress.set_description(f"write {name}")
            (draft / target.graph).parent.mkdir(exist_ok=True)
            target.write(material, draft / target.graph)
            progress.update()
            progress.set_description(f"measure {name}")
            figures = {backend: _measure(reference, draft, target, sample, backend) for backend in _runtimes(target)}
            thresholds = target.thresholds.overridden(options.thresholds)
            activation = reference.artifact.activation
            graphs[target.graph] = graph_entry(
                name, target, figures, thresholds, sample.name, activation, options.exporter
            )
            progress.update()
    return graphs


def _runtimes(target: Target) -> list[str]:
    """The target's own backend, and those of its others that are installed."""
    installed = installed_runtimes()
    return [target.backend, *(backend for backend in target.also_runs_on if backend in installed)]


def _measure(reference: CrossEncoder, draft: Path, target: Target, sample: Sample, backend: str) -> Figures:
    how = BackendOptions(graph=target.graph, precision=target.arithmetic)
    exported = CrossEncoder.load(draft, backend, how)
    return measure_parity(reference, exported, sample.rows, sample.lists, sample.expected)


def _refuse_loss(graphs: Mapping[str, Mapping[str, Any]], activation: str) -> None:
    found = {
        entry["target"]: Thresholds(**entry["thresholds"]).exceeded(entry["parity"], activation)
        for entry in graphs.values()
    }
    if any(found.values()):
        faults = ", ".join(f"{name} ({'; '.join(exceeded)})" for name, exceeded in found.items() if exceeded)
        raise ParityError(
            f"too far from the model: {faults}; nothing was written; give more texts of your own to calibrate with, "
            "choose another target, or allow it with --allow-parity-loss",
            figures_of(graphs),
        )


def _copy_model(source: Path, draft: Path, weights: bool) -> None:
    shutil.copyfile(source / "config.json", draft / "config.json")
    copy_tokenizer(source, draft)
    kept = [source / name for name in LIBRARY_FILES]
    if weights:
        kept += [*source.glob("*.safetensors*"), *source.glob("pytorch_model*.bin*")]
    for path in kept:
        if path.is_file():
            shutil.copyfile(path, draft / path.name)


def _manifest(artifact: Artifact) -> Manifest:
    return artifact.manifest or Manifest(artifact.max_length, artifact.activation, list(artifact.labels))
