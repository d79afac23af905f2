"""`rerank-training evaluate`: ranking quality of a cross-encoder beside BM25 and the parent's cosine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.errors import ConfigError
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import read_manifest, write_manifest
from app.model.types import FloatArray
from training.candidates import Task, load_task
from training.metrics import average_precision, ndcg, ranking, reciprocal_rank
from training.recipe import EvaluationSet, Recipe, load_recipe

Scorer = Callable[[Sequence[tuple[str, str]]], FloatArray]
Figures = dict[str, float]
METRICS = ("ndcg@10", "mrr@10", "map")
CHUNK = 1000
"""Pairs scored at once: enough to sort by length, few enough for a lively progress bar."""


def measure(task: Task, scores: FloatArray) -> Figures:
    """Mean metrics over the queries of `task`; `scores` in the order of its pairs."""
    rows, start = [], 0
    for query_id, document_ids in task.candidates.items():
        own = scores[start : start + len(document_ids)]
        start += len(document_ids)
        judged = task.qrels[query_id]
        grades = [judged.get(document_ids[i], 0.0) for i in ranking(own)]
        relevant = sum(grade > 0 for grade in judged.values())
        best = list(judged.values())
        rows.append((ndcg(grades, best), reciprocal_rank(grades), average_precision(grades, relevant)))
    return dict(zip(METRICS, np.mean(rows, axis=0).round(4).tolist(), strict=True))


def in_given_order(task: Task) -> FloatArray:
    """Scores that keep BM25's order."""
    ranks = [rank for document_ids in task.candidates.values() for rank in range(len(document_ids))]
    return -np.array(ranks, dtype=np.float32)


def model_scorer(model: CrossEncoder) -> Scorer:
    """Scores pairs with the model's first logit; ranking needs no activation."""

    def score(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        parts = []
        for start in tqdm(range(0, len(pairs), CHUNK), desc="score", unit="chunk", leave=False):
            rows = model.tokenizer.encode_pairs(pairs[start : start + CHUNK], model.options)
            parts.append(model.logits(rows)[:, 0])
        return np.concatenate(parts)

    return score


def evaluate(
    recipe: Recipe, sets: Sequence[EvaluationSet], scorers: dict[str, Scorer]
) -> dict[str, dict[str, Figures]]:
    """Figures by evaluation set and ranker: `bm25` and one entry per scorer. Prints each row when it is known."""
    results: dict[str, dict[str, Figures]] = {}
    tqdm.write(f"{'nDCG@10 / MRR@10 / MAP':24}" + "".join(f"{name:>24}" for name in ("bm25", *scorers)))
    for options in sets:
        task = load_task(options, recipe.data_root, recipe.seed)
        pairs = task.pairs()
        figures = {"bm25": measure(task, in_given_order(task))}
        figures |= {name: measure(task, scorer(pairs)) for name, scorer in scorers.items()}
        results[options.name] = figures
        size = {"queries": len(task.candidates), "pairs": len(pairs)}
        results[options.name]["size"] = {key: float(value) for key, value in size.items()}
        cells = "".join(f"{' / '.join(f'{figures[name][m]:.3f}' for m in METRICS):>24}" for name in ("bm25", *scorers))
        tqdm.write(f"{options.name + ' (' + str(len(task.candidates)) + ')':24}{cells}")
    return results


def evaluate_command(options: argparse.Namespace) -> int:
    """Runs the command line's `evaluate`."""
    recipe = load_recipe(options.recipe, options.overrides)
    sets = _selected(recipe, options.only)
    model = CrossEncoder.load(options.model, backend=options.backend, max_length=options.max_length)
    scorers = {"model": model_scorer(model)}
    if not options.no_baselines:
        from training.bi_encoder import BiEncoder
        from training.parent import resolve_parent

        scorers = {"parent": BiEncoder(resolve_parent(recipe.parent)).cosines} | scorers
    results = evaluate(recipe, sets, scorers)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if options.record:
        record(model.artifact.directory, results, model.backend.source, model.max_length)
    return 0


def record(directory: Path, results: dict[str, dict[str, Figures]], source: str, max_length: int) -> None:
    """Adds evaluation figures to the manifest of an artifact. Raises ConfigError if it has none."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise ConfigError(f"{directory}: has no reranker.json to record figures in; leave out --record")
    evaluation = {"weights": source, "max_length": max_length, "sets": results}
    provenance = {**manifest.provenance, "evaluation": evaluation}
    write_manifest(directory, replace(manifest, provenance=provenance), manifest.files)


def _selected(recipe: Recipe, names: Sequence[str] | None) -> list[EvaluationSet]:
    if not recipe.evaluations:
        raise ConfigError("the recipe has no [[evaluations]]; add a set to measure with")
    known = {options.name: options for options in recipe.evaluations}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: no such evaluation set; the recipe has {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())
