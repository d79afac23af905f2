"""Rankings as run files in TREC's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.model.types import FloatArray
from training.candidates import Task
from training.evaluate_lists import Lists
from training.evaluate_result import Result
from training.retrieval.run_file import Run, write_run

ENDING = ".trec"


def write_runs(result: Result, scores: Mapping[str, FloatArray], directory: Path) -> None:
    """SET.RANKER.trec for the first stage and every ranker, each whole or not at all. Raises DataError."""
    directory.mkdir(parents=True, exist_ok=True)
    task, lists = result.task, Lists.of(result.task)
    own = [task.scores[key] for key in task.queries]
    runs = {task.first_stage: run_of(task, [np.arange(len(one)) for one in own], own)}
    for name, flat in scores.items():
        placed = lists.place(flat)
        orders = [row[row < size] for row, size in zip(result.positions[name], lists.sizes, strict=True)]
        ranked = [run_scores(row[order], result.depth) for row, order in zip(placed, orders, strict=True)]
        runs[name] = run_of(task, orders, ranked)
    for name, run in runs.items():
        write_run(directory / f"{task.name}.{name}{ENDING}", run, tag=name)


def run_of(task: Task, orders: Sequence[NDArray[np.int64]], scores: Sequence[NDArray[np.floating]]) -> Run:
    """A run of each query's candidates in an order, with the scores of that order."""
    documents = list(dict.fromkeys(name for names in task.candidates.values() for name in names))
    position = {name: i for i, name in enumerate(documents)}
    ranked = [position[names[i]] for names, order in zip(task.candidates.values(), orders, strict=True) for i in order]
    offsets = np.concatenate([[0], np.cumsum([len(order) for order in orders])])
    fallen = np.concatenate([falling(own) for own in scores])
    return Run(list(task.queries), documents, offsets, np.array(ranked, dtype=np.int64), fallen)


def run_scores(scores: NDArray[np.floating], depth: int) -> NDArray[np.float32]:
    """Scores in ranked order for a run file: behind the first `depth`, which are reranked, one less at each rank."""
    tail = scores[:depth].min(initial=0.0) - np.arange(1, len(scores) - depth + 1)
    return np.concatenate([scores[:depth], tail]).astype(np.float32)


def falling(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """The scores, those that are equal lowered by the least possible: tools that order ties by id then read the same
    order. float32, as many of these tools compute. What has no score, -inf, comes behind the rest.
    """
    strict = np.array(scores, dtype=np.float32)
    strict[np.isneginf(strict)] = strict[np.isfinite(strict)].min(initial=0.0) - 1
    for i in range(1, len(strict)):
        if strict[i] >= strict[i - 1]:
            strict[i] = np.nextafter(strict[i - 1], np.float32(-np.inf))
    return strict
