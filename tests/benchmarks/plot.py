"""One picture of all scenarios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.benchmarks import plot_scoring
from tests.benchmarks.bench import Result
from tests.benchmarks.plot_scoring import Series

COLUMNS = 4


def write_plot(results: Sequence[Result], path: Path, heading: str) -> None:
    """Writes a PNG with the panels of each scenario."""
    drawn = [(panel, result) for result in results for panel in PANELS[result.scenario]]
    columns = min(len(drawn), COLUMNS)
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(5 * columns, 4.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)  # no display needed
    places = figure.subplots(rows, columns, squeeze=False).flat
    for axes in places[len(drawn) :]:
        axes.set_axis_off()
    for (panel, result), axes in zip(drawn, places, strict=False):
        axes.set_title(result.scenario)
        panel(axes, result.series)
    figure.suptitle(heading)
    figure.savefig(path, dpi=110)


def _rounds(axes: Axes, series: Series) -> None:
    for name, values in series.items():
        axes.plot(range(1, len(values) + 1), values, "o-", label=name)
    axes.set(xlabel="round", ylabel="pairs/s", ylim=(0, None))
    axes.legend()


def _distributions(axes: Axes, series: Series) -> None:
    for name, values in series.items():
        axes.plot(np.sort(values), np.linspace(0, 1, len(values)), label=name)
    axes.set(xlabel="latency [ms]", ylabel="share of requests", xlim=(0, None))
    axes.legend()


def _overload(axes: Axes, series: Series) -> None:
    answers = series["answers per second"]
    axes.step(range(len(answers)), answers, where="post", label="answered")
    axes.axhline(series["capacity"][0], color="tab:green", label="capacity")
    axes.set(xlabel="time [s]", ylabel="requests/s", ylim=(0, None))
    axes.legend()


PANELS: dict[str, tuple[Callable[[Axes, Series], None], ...]] = {
    "saturation": (_rounds,),
    "lone": (_distributions,),
    "mixed": (_distributions,),
    "mixed-poisson": (_distributions,),
    "overload": (_overload,),
    "scoring": (
        plot_scoring.throughput,
        plot_scoring.budgets,
        plot_scoring.latency,
        plot_scoring.latency_budgets,
    ),
    "ranking": (plot_scoring.changes,),
}
