"""`rerank-training evaluate`: ranking quality of cross-encoders beside the first stage that they rerank."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from app.errors import ConfigError
from app.model.backends import BackendOptions
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import Manifest, read_manifest, write_manifest
from training.candidates import load_task
from training.default_backend import backend_for
from training.evaluate_plan import Job, Plan, plan_of
from training.evaluate_rankers import Scorer, model_scorer, names_of, parent_scorer
from training.evaluate_result import Result, measure
from training.evaluate_runs import write_runs
from training.evaluation_plot import check_plot, plot_curves
from training.evaluation_report import as_json, compared_json, describe, recorded, summary
from training.metrics import Measure, measures
from training.whole_file import require_place, write_whole

MEASURES = ("ndcg@10", "mrr@10", "map", "recall@10", "recall@100")
PARENT = "parent"
MODEL = "model"


def evaluate_command(options: argparse.Namespace) -> int:
    """Runs the command line's `evaluate`."""
    wanted = measures(options.measures or MEASURES)
    check_outputs(options)
    plan = plan_of(options)
    model = load_model(options.model, options)
    if options.record:
        require_manifest(model.artifact.directory)
    results = evaluate(plan, rankers(model, plan, options), wanted, options.runs_out)
    if len(results) > 1:
        tqdm.write(summary(results))
    if options.json is not None:
        whole = {result.task.name: as_json(result) for result in results}
        write_whole(options.json, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    if options.plot is not None:
        plot_curves(results, options.plot)
    if options.record:
        record(model.artifact.directory, results, model.backend.source, model.max_length)
    return 0


def evaluate(
    plan: Plan, scorers: Mapping[str, Scorer], wanted: Sequence[Measure], runs: Path | None = None
) -> list[Result]:
    """The figures of every set of the plan, each printed, and its runs written, as soon as they are known."""
    results = []
    for job in tqdm(plan.jobs, desc="evaluate", unit="set", disable=len(plan.jobs) == 1):
        result = evaluate_set(job, plan, scorers, wanted, runs)
        tqdm.write(describe(result))
        results.append(result)
    return results


def evaluate_set(
    job: Job, plan: Plan, scorers: Mapping[str, Scorer], wanted: Sequence[Measure], runs: Path | None
) -> Result:
    """Scores all candidates of a set once by every ranker. Raises DataError or ConfigError."""
    task = load_task(job.options, plan.root, plan.seed)
    pairs = task.pairs()
    scores = {name: scorer(pairs) for name, scorer in scorers.items()}
    result = measure(task, scores, wanted, job.depth, job.depths, plan.seed)
    if runs is not None:
        write_runs(result, scores, runs)
    return result


def rankers(model: CrossEncoder, plan: Plan, options: argparse.Namespace) -> dict[str, Scorer]:
    """The parent's cosine if there is one, the models to compare with, and the model itself last."""
    found: dict[str, Scorer] = {}
    if plan.parent is not None:
        from training.parent import resolve_parent

        found[PARENT] = parent_scorer(resolve_parent(plan.parent))
    others = options.against or []
    stages = ("bm25", "dense", "run")
    for name, other in zip(names_of(others, (*stages, PARENT, MODEL)), others, strict=True):
        found[name] = model_scorer(load_model(other, options), name)
    return found | {MODEL: model_scorer(model)}


def load_model(name: str, options: argparse.Namespace) -> CrossEncoder:
    """A model with the command line's backend and length. Raises ArtifactError or ConfigError."""
    many = BackendOptions().for_many_rows()
    return CrossEncoder.load(name, backend_for(name, options.backend), many, max_length=options.max_length)


def check_outputs(options: argparse.Namespace) -> None:
    """Raises ConfigError for what cannot be written, before hours of scoring."""
    if options.json is not None:
        require_place("--json", options.json)
    if options.plot is not None:
        require_place("--plot", options.plot)
        check_plot(options.plot)
    if options.runs_out is not None and options.runs_out.exists() and not options.runs_out.is_dir():
        raise ConfigError(f"--runs-out {options.runs_out}: is no directory; choose another name")
    if options.runs_out is not None:
        options.runs_out.mkdir(parents=True, exist_ok=True)


def require_manifest(directory: Path) -> Manifest:
    """The manifest of an artifact. Raises ConfigError if it has none to record figures in."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise ConfigError(f"{directory}: has no reranker.json to record figures in; leave out --record")
    return manifest


def record(directory: Path, results: Sequence[Result], source: str, max_length: int) -> None:
    """Adds evaluation figures to the manifest of an artifact. Raises ConfigError if it has none."""
    manifest = require_manifest(directory)
    evaluation: dict[str, Any] = {
        "weights": source,
        "max_length": max_length,
        "sets": {result.task.name: recorded(result) for result in results},
        "retrieval": {result.task.name: result.task.retrieval for result in results},
        "comparisons": {result.task.name: compared_json(result) for result in results},
    }
    provenance = {**manifest.provenance, "evaluation": evaluation}
    write_manifest(directory, replace(manifest, provenance=provenance), manifest.files)
