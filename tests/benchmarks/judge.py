"""Compares every answer, item by item, with scores computed offline by the same engine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.model.types import FloatArray
from tests.benchmarks.load import Answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """`wrong` counts answers, `largest` is the largest deviation of a single score from its offline value."""

    answers: int
    items: int
    wrong: int
    largest: float


def judge(answers: Iterable[Answer], expected: Mapping[str, Sequence[FloatArray]], tolerance: float) -> Verdict:
    """Judges answers with status 200. `expected[stream][item]` are the offline scores in input order.

    Wrong is: another request's id, an index missing or twice, results out of order, a score beyond the tolerance.
    """
    judged = items = wrong = 0
    largest = 0.0
    for answer in answers:
        truth = expected[answer.stream][answer.item]
        deviation = _deviation(answer, truth)
        judged, items = judged + 1, items + len(truth)
        wrong += not deviation <= tolerance
        if np.isfinite(deviation):
            largest = max(largest, deviation)
    return Verdict(judged, items, wrong, largest)


def _deviation(answer: Answer, truth: FloatArray) -> float:
    """Largest deviation of a score; infinite where the answer is no answer to this request."""
    results = json.loads(answer.text)["results"]
    indices = [result["index"] for result in results]
    given = np.array([result["relevance_score"] for result in results], dtype=np.float64)
    if not answer.echoed or sorted(indices) != list(range(len(truth))) or (np.diff(given) > 0).any():
        return float("inf")
    return float(np.abs(given - truth[indices]).max())
