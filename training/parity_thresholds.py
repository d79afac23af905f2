"""How far from its reference an exported graph may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

BOUNDED = {"sigmoid", "softmax"}
"""Activations whose scores are between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Bounds on the figures of `training.parity`.

    Differences are meant for scores between 0 and 1; for other scores they are shares of the reference's score range.
    """

    max_score_difference: float
    mean_score_difference: float
    min_kendall_tau: float
    min_top10_overlap: float
    max_ndcg10_loss: float

    def overridden(self, changes: Mapping[str, float | None]) -> Thresholds:
        """These thresholds with those that `changes` names and gives a value."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def exceeded(self, figures: Mapping[str, float], activation: str) -> list[str]:
        """One phrase for each bound that is broken, with figure and bound; empty where all are kept.

        A figure that is not a number breaks its bound.
        """
        unit = 1.0 if activation in BOUNDED else figures["score_range"]
        highest = {
            "max_score_difference": self.max_score_difference * unit,
            "mean_score_difference": self.mean_score_difference * unit,
        }
        lowest = {"kendall_tau": self.min_kendall_tau, "top10_overlap": self.min_top10_overlap}
        if "ndcg10_change" in figures:
            lowest["ndcg10_change"] = -self.max_ndcg10_loss
        over = [
            f"{key} {figures[key]:.4g} is over {bound:.4g}"
            for key, bound in highest.items()
            if not figures[key] <= bound
        ]
        under = [
            f"{key} {figures[key]:.4g} is under {bound:.4g}"
            for key, bound in lowest.items()
            if not figures[key] >= bound
        ]
        return over + under

    def as_dict(self) -> dict[str, float]:
        """For the manifest."""
        return asdict(self)


INT8 = Thresholds(0.25, 0.025, 0.92, 0.82, 0.01)
"""For 8-bit products; see LOG.md for the figures of a trained MiniLM."""
