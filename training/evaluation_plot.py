"""A picture of ranking quality over rerank depth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ConfigError
from training.evaluate_result import Result
from training.significance import LEVEL
from training.whole_file import write_whole

COLUMNS = 3
FORMATS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Raises ConfigError for a name whose ending tells no format of pictures."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--plot {path}: its name must end in one of {', '.join(FORMATS)}")


def plot_curves(results: Sequence[Result], path: Path) -> None:
    """One panel per evaluation set: each ranker's figure by depth, dashed the first stage's.

    A band is the confidence interval of the gain over the first stage: where it leaves the dashed line out, the gain
    is hardly chance.
    """
    from matplotlib.figure import Figure  # slow to import, and without pyplot no display is looked for

    columns = min(len(results), COLUMNS)
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(6 * columns, 4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for result, axes in zip(results, panels, strict=False):
        draw_curve(axes, result)
    for axes in panels:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=120)
    write_whole(path, buffer.getvalue())


def draw_curve(axes: Any, result: Result) -> None:
    """Figure by number of reranked candidates, on a logarithmic axis."""
    curve, first = result.curve, result.task.first_stage
    axes.axhline(curve.start, linestyle="--", color="grey", label=f"{first}, not reranked")
    for name, means in curve.means.items():
        low, high = (np.array(bounds) + curve.start for bounds in zip(*curve.gains[name], strict=True))
        (line,) = axes.plot(curve.depths, means, "o-", markersize=4, label=name)
        axes.fill_between(curve.depths, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(curve.depths, [str(depth) for depth in curve.depths])
    axes.minorticks_off()
    axes.set(xlabel="candidates reranked", ylabel=curve.measure)
    axes.set_title(f"{result.task.name}, {len(result.task.queries)} queries", fontsize="medium")
    axes.legend(fontsize="small", title=f"band: {LEVEL:.0%} interval of the gain", title_fontsize="small")
