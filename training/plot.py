"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def plot_losses(losses: Sequence[float], path: Path) -> None:
    """A PNG of the loss of every step and its running mean."""
    from matplotlib.figure import Figure  # slow to import, and without pyplot no display is looked for

    window = max(1, len(losses) // 20)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(losses) + 1), losses, linewidth=0.5, alpha=0.4, label="step")
    axes.plot(range(window, len(losses) + 1), smooth, label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel="binary cross-entropy", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
