"""How far an exported graph's answers are from the model it was made of, and how much faster they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder
from app.model.types import Encoded, FloatArray
from training.metrics import Ranked, ndcg, order
from training.parity_texts import Lists

Figures = dict[str, float]
ALONE_ROWS = 64
TIMED_ROWS, ROUNDS = 32, 3


def measure_parity(
    reference: CrossEncoder,
    exported: CrossEncoder,
    rows: Sequence[Encoded],
    lists: Lists | None = None,
    expected: FloatArray | None = None,
) -> Figures:
    """Differences of logits and scores over `rows`, agreement of order, batch dependence, and speed.

    `kendall_tau` compares the order of the first label over all rows; `top10_overlap` is the mean share of each
    list's first ten documents that stay among them; `ndcg10_change` (only where documents are judged) is below 0
    where the graph ranks worse. `batch_dependence` is the largest score difference of a row between a batch of its
    own and a shared one; `throughput_ratio` is rows per second over the reference's, on this machine. `expected` are
    the reference's logits of `rows` where they are known already.
    """
    lists = lists or Lists([np.arange(len(rows))])
    if expected is None:
        expected = reference.logits(rows)
    found, alone = exported.logits(rows), exported.logits(rows[:ALONE_ROWS], Budget(max_rows=1))
    wanted = reference.activate(expected)
    scores = np.abs(exported.activate(found) - wanted)
    figures = {
        "rows": float(len(rows)),
        "max_logit_difference": float(np.abs(found - expected).max()),
        "max_score_difference": float(scores.max()),
        "mean_score_difference": float(scores.mean()),
        "score_range": float(np.ptp(wanted)),
        "kendall_tau": kendall_tau(expected[:, 0], found[:, 0]),
        "top10_overlap": top_overlap(expected[:, 0], found[:, 0], lists),
        "batch_dependence": float(np.abs(exported.activate(found[:ALONE_ROWS]) - exported.activate(alone)).max()),
        "throughput_ratio": throughput_ratio(reference.logits, exported.logits, rows),
    }
    if lists.grades is not None:
        figures["ndcg10_change"] = mean_ndcg(found[:, 0], lists) - mean_ndcg(expected[:, 0], lists)
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def kendall_tau(first: FloatArray, second: FloatArray) -> float:
    """Share of concordant minus share of discordant pairs (tau-a): 1 for the same order, -1 for the reverse.

    A tie counts for neither. Kendall 1938, "A New Measure of Rank Correlation".
    """
    from scipy.stats import kendalltau  # half a second

    pairs = len(first) * (len(first) - 1) // 2
    if pairs == 0:
        return 1.0
    counts = [np.unique(one, return_counts=True)[1] for one in (first, second)]
    untied = [pairs - int((count * (count - 1) // 2).sum()) for count in counts]
    if 0 in untied:
        return 0.0
    among_untied = float(kendalltau(first, second).statistic)
    surplus = round(among_untied * math.sqrt(untied[0] * untied[1]))  # a number of pairs, so the same order gives 1.0
    return surplus / pairs


def top_overlap(first: FloatArray, second: FloatArray, lists: Lists, k: int = 10) -> float:
    """Mean over the lists of |top k by first and by second| / k (a shorter list: / its length)."""
    shares = []
    for rows in lists.rows:
        tops = [set(order(scores[rows])[:k].tolist()) for scores in (first, second)]
        shares.append(len(tops[0] & tops[1]) / max(1, min(k, len(rows))))
    return float(np.mean(shares))


def mean_ndcg(scores: FloatArray, lists: Lists) -> float:
    """Mean nDCG@10 over the lists that have a relevant document."""
    assert lists.grades is not None
    values = [
        _ndcg(scores[rows], np.array(grades))
        for rows, grades in zip(lists.rows, lists.grades, strict=True)
        if max(grades) > 0
    ]
    return float(np.mean(values)) if values else 0.0


def _ndcg(scores: FloatArray, grades: NDArray[np.float64]) -> float:
    ranked = Ranked(grades[order(scores)][None], np.sort(grades[grades > 0])[::-1][None])
    return float(ndcg(ranked, 10)[0])


def throughput_ratio(
    reference: Callable[[Sequence[Encoded]], object],
    exported: Callable[[Sequence[Encoded]], object],
    rows: Sequence[Encoded],
) -> float:
    """Speed of `exported` over that of `reference`: medians of a few interleaved rounds over some of the rows."""
    sample = [rows[i] for i in np.linspace(0, len(rows) - 1, min(TIMED_ROWS, len(rows))).astype(int)]
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for run, measured in zip((reference, exported), seconds, strict=True):
            started = time.perf_counter()
            run(sample)
            measured.append(time.perf_counter() - started)
    return median(seconds[0]) / median(seconds[1])
