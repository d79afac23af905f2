"""A picture of what was mined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 60


def plot_scores(positive: NDArray[Any], negative: NDArray[Any], difference: NDArray[Any], path: Path) -> None:
    """A PNG of two histograms: scores of right answers beside those of negatives, and the difference in each pair.

    Scores that are not known (NaN) are left out.
    """
    from matplotlib.figure import Figure  # slow to import, and without pyplot no display is looked for

    figure = Figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    groups = {"right answers": positive[np.isfinite(positive)], "negatives": negative[np.isfinite(negative)]}
    draw(left, groups, "score")
    draw(right, {"right answer minus negative": difference[np.isfinite(difference)]}, "difference of scores")
    right.axvline(0, color="black", linewidth=0.8)
    figure.savefig(path, dpi=120)


def draw(axes: Any, groups: dict[str, NDArray[Any]], label: str) -> None:
    """Histograms over the same bins, each with its mean as a dashed line; as shares, since groups differ in size."""
    everything = np.concatenate(list(groups.values()))
    if not len(everything):
        axes.text(0.5, 0.5, "no known scores", ha="center", va="center", transform=axes.transAxes)
        return
    bins = np.histogram_bin_edges(everything, BINS)
    for number, (name, values) in enumerate(groups.items()):
        if not len(values):
            continue
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins=bins, weights=weights, alpha=0.55, color=f"C{number}", label=f"{name} ({len(values):,})")
        axes.axvline(float(values.mean()), color=f"C{number}", linestyle="--", linewidth=1.2)
    axes.set(xlabel=label, ylabel="share of pairs (%)")
    axes.legend(fontsize="small")
