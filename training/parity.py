"""How far an exported graph's answers are from the model it was made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder
from app.model.types import Encoded, FloatArray

Figures = dict[str, float]


def measure_parity(reference: CrossEncoder, exported: CrossEncoder, rows: Sequence[Encoded]) -> Figures:
    """Largest and mean differences of logits and scores over `rows`, rank agreement, and batch dependence.

    `batch_dependence` is the largest score difference of a row between a batch of its own and a shared one;
    `kendall_tau` compares the order of the first label.
    """
    expected, found = reference.logits(rows), exported.logits(rows)
    alone = exported.logits(rows, Budget(max_rows=1))
    scores = np.abs(exported.activate(found) - reference.activate(expected))
    return {
        "rows": float(len(rows)),
        "max_logit_difference": _round(np.abs(found - expected).max()),
        "max_score_difference": _round(scores.max()),
        "mean_score_difference": _round(scores.mean()),
        "kendall_tau": _round(kendall_tau(expected[:, 0], found[:, 0])),
        "batch_dependence": _round(np.abs(exported.activate(found) - exported.activate(alone)).max()),
    }


def kendall_tau(first: FloatArray, second: FloatArray) -> float:
    """Share of concordant minus share of discordant pairs (tau-a): 1 for the same order, -1 for the reverse."""
    if len(first) < 2:
        return 1.0
    agree = np.sign(first[:, None] - first[None]) * np.sign(second[:, None] - second[None])
    return float(agree.sum() / (len(first) * (len(first) - 1)))


def _round(value: float) -> float:
    return float(f"{float(value):.4g}")
