"""What an evaluation set has shown: figures per query and ranker, their means, intervals, tests and depth curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.model.types import FloatArray
from training.candidates import Task
from training.evaluate_lists import Lists, curve_depths, reranked
from training.metrics import Measure, Ranked
from training.significance import Comparison, Interval, bootstrap, compare

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """The first of the measures by rerank depth: for each ranker the means, and the intervals of the gain over the
    first stage, whose own mean is `start`."""

    depths: tuple[int, ...]
    measure: str
    start: float
    means: dict[str, list[float]]
    gains: dict[str, list[Interval]]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything about one evaluation set. The first of the `rankers` is the first stage, which reranks nothing.

    `values` has (queries, measures) for each ranker at the rerank depth `depth`, `positions` the candidates' order
    (queries, width) there. `comparisons` is keyed by (first, second), one `Comparison` per measure.
    """

    task: Task
    depth: int
    measures: tuple[str, ...]
    values: dict[str, Array]
    positions: dict[str, NDArray[np.int64]]
    intervals: dict[str, list[Interval]]
    comparisons: dict[tuple[str, str], list[Comparison]]
    curve: Curve

    @property
    def rankers(self) -> list[str]:
        """Names, the first stage first."""
        return list(self.values)

    def means(self, ranker: str) -> dict[str, float]:
        """Mean of each measure over the queries."""
        return dict(zip(self.measures, self.values[ranker].mean(axis=0).tolist(), strict=True))


def measure(
    task: Task,
    scores: Mapping[str, FloatArray],
    measures: Sequence[Measure],
    depth: int,
    depths: Iterable[int] = (),
    seed: int = 0,
) -> Result:
    """The figures of rankers by name, from their scores in the order of the task's pairs.

    Each is compared with the first stage, and the last with every other one.
    """
    lists = Lists.of(task)
    placed = {name: lists.place(own) for name, own in scores.items()}
    depth = min(depth, lists.grades.shape[1])
    positions = {name: reranked(own, depth) for name, own in placed.items()}
    values = {task.first_stage: figures(lists.first_stage(), measures)}
    values |= {name: figures(lists.ranked(own), measures) for name, own in positions.items()}
    return Result(
        task,
        depth,
        tuple(str(one) for one in measures),
        values,
        positions,
        {name: bootstrap(own, seed=seed) for name, own in values.items()},
        {pair: compare(values[pair[0]], values[pair[1]], seed) for pair in compared(list(values))},
        curve_of(lists, placed, measures[0], curve_depths(depths, depth, lists.grades.shape[1]), seed),
    )


def figures(ranked: Ranked, measures: Sequence[Measure]) -> Array:
    """(queries, measures)"""
    return np.stack([one.of(ranked) for one in measures], axis=1)


def compared(rankers: Sequence[str]) -> list[tuple[str, str]]:
    """Which rankers are compared: all with the first, and the last with the others."""
    first, last = rankers[0], rankers[-1]
    return [(first, name) for name in rankers[1:]] + [(name, last) for name in rankers[1:-1]]


def curve_of(lists: Lists, scores: Mapping[str, Array], wanted: Measure, depths: tuple[int, ...], seed: int) -> Curve:
    """Each ranker's figures by rerank depth, from scores that are computed once."""
    first = wanted.of(lists.first_stage())
    means, gains = {}, {}
    for name, own in scores.items():
        values = np.stack([wanted.of(lists.ranked(reranked(own, depth))) for depth in depths], axis=1)
        means[name] = values.mean(axis=0).tolist()
        gains[name] = bootstrap(values - first[:, None], seed=seed)
    return Curve(depths, str(wanted), float(first.mean()), means, gains)
