"""What was mined, in numbers and as a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.model.types import FloatArray
from training.mining.pipeline import Mined
from training.mining.positives import Problem

METRICS = ("Mean", "Median", "Std", "Min", "25%", "50%", "75%", "Max")
ROW = "{:<6} {:>14} {:>14} {:>14}"


@dataclass(frozen=True, eq=False)
class Statistics:
    """Scores of the positives, of the negatives that the rows of one format hold, and of each such pair the difference.

    `missing` of `possible` rows could not be made for want of negatives. `values` are (positive, negative, difference)
    by the names of METRICS, NaN where there are no scores.
    """

    positives: int
    negatives: int
    values: dict[str, tuple[float, float, float]]
    missing: int
    possible: int


def measure(problem: Problem, mined: Mined, output_format: str) -> Statistics:
    """The numbers of the rows that `output_format` makes."""
    indices, scores = mined.indices[problem.positives.queries], mined.scores[problem.positives.queries]
    valid = indices >= 0
    missing, possible = missing_rows(problem, mined, output_format)
    if output_format == "n-tuple":
        valid &= valid.all(axis=1, keepdims=True)
    negatives = scores[valid]
    difference = np.repeat(mined.positive_scores, valid.sum(axis=1)) - negatives
    three = [values[~np.isnan(values)] for values in (mined.positive_scores, negatives, difference)]
    values = dict(zip(METRICS, zip(*map(_summary, three), strict=True), strict=True))
    return Statistics(len(mined.positive_scores), len(negatives), values, missing, possible)


def missing_rows(problem: Problem, mined: Mined, output_format: str) -> tuple[int, int]:
    """How many rows of how many possible ones could not be made for want of negatives."""
    counts = (mined.indices >= 0).sum(axis=1)
    queries, most = mined.indices.shape
    of_pairs = counts[problem.positives.queries]
    pairs = len(of_pairs)
    match output_format:
        case "triplet":
            return pairs * most - int(of_pairs.sum()), pairs * most
        case "labeled-pair":
            return queries * most - int(counts.sum()), queries * most + pairs
        case "labeled-list":
            return int((of_pairs == 0).sum()), pairs
        case _:
            return int((of_pairs < most).sum()), pairs


def report(statistics: Statistics, mined: Mined) -> str:
    """The table, what each filter skipped, and what may be done where negatives are missing."""
    lines = [ROW.format("Metric", "Positive", "Negative", "Difference")]
    lines.append(ROW.format("Count", f"{statistics.positives:,}", f"{statistics.negatives:,}", "").rstrip())
    lines += [ROW.format(name, *(f"{value:.4f}" for value in values)) for name, values in statistics.values.items()]
    lines += [
        f"Skipped {skip.dropped:,} potential negatives ({skip.share:.2%}) due to the {skip.name} of {skip.value}."
        for skip in mined.skipped
        if skip.dropped
    ]
    if statistics.missing:
        lines.append(_advice(statistics, mined))
    return "\n".join(lines)


def _advice(statistics: Statistics, mined: Mined) -> str:
    options = mined.options
    names = ["range_max"] + ["range_min"] * (options.range_min > 0) + [skip.name for skip in mined.skipped]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    share = statistics.missing / statistics.possible
    return (
        f"Could not find enough negatives for {statistics.missing} samples ({share:.2%}). Consider adjusting the"
        f" {listed} parameter{'s' if len(names) > 1 else ''} if you'd like to find more valid negatives."
    )


def _summary(scores: FloatArray) -> list[float]:
    """The values of METRICS; quantiles are interpolated linearly, from one sort however many scores there are."""
    if not len(scores):
        return [np.nan] * len(METRICS)
    ordered = np.sort(scores)
    places = np.array([0, 0.25, 0.5, 0.75, 1]) * (len(ordered) - 1)
    below = ordered[np.floor(places).astype(np.int64)].astype(np.float64)
    above = ordered[np.ceil(places).astype(np.int64)].astype(np.float64)
    low, first, middle, third, high = (below + (above - below) * (places % 1)).tolist()
    spread = float(np.std(scores, ddof=1, dtype=np.float64)) if len(scores) > 1 else np.nan
    return [float(np.mean(scores, dtype=np.float64)), middle, spread, low, first, middle, third, high]
