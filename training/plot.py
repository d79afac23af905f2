"""Pictures of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.recipe_sections import MAIN_FIGURES


def plot_run(losses: Sequence[tuple[int, float]], evaluations: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A PNG of the loss with its running mean and, beside it where there are any, the metrics of each evaluation."""
    from matplotlib.figure import Figure  # slow to import, and without pyplot no display is looked for

    figure = Figure(figsize=(7 if not evaluations else 12, 4), layout="constrained")
    axes = figure.subplots(1, 2 if evaluations else 1, squeeze=False)[0]
    draw_losses(axes[0], losses)
    if evaluations:
        draw_metrics(axes[1], evaluations)
    figure.savefig(path, dpi=120)


def draw_losses(axes: Any, losses: Sequence[tuple[int, float]]) -> None:
    """Loss by step, if any was logged."""
    axes.set(xlabel="step", ylabel="training loss")
    if not losses:
        return
    steps, values = zip(*losses, strict=True)
    window = max(1, len(values) // 20)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps, values, linewidth=0.5, alpha=0.4, label="logged")
    axes.plot(steps[window - 1 :], smooth, label=f"mean of {window}")
    axes.set_ylim(min(0.0, float(min(values))), None)
    axes.legend()


def draw_metrics(axes: Any, evaluations: Sequence[Mapping[str, Any]]) -> None:
    """The main figure of each evaluation set by step, dashed that of the candidates' own order."""
    names = [name for name in evaluations[0] if name.endswith(MAIN_FIGURES)]
    colours: dict[str, Any] = {}
    for name in sorted(names, key=lambda name: "base_" in name):
        steps = [entry["step"] for entry in evaluations if name in entry]
        values = [math.nan if entry[name] is None else entry[name] for entry in evaluations if name in entry]
        own = name.replace("base_", "")
        style = "--" if own in colours and own != name else "o-"
        (line,) = axes.plot(steps, values, style, label=name, color=colours.get(own), markersize=3)
        colours.setdefault(own, line.get_color())
    shown = [figure for figure in MAIN_FIGURES if any(name.endswith(figure) for name in names)]
    axes.set(xlabel="step", ylabel=", ".join(shown))
    axes.legend(fontsize="small")
