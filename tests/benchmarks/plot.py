"""One picture of all scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.benchmarks.bench import Result

Series = Mapping[str, Sequence[float]]


def write_plot(results: Sequence[Result], path: Path, heading: str) -> None:
    """Writes a PNG with one panel per scenario."""
    figure = Figure(figsize=(5 * len(results), 4))
    FigureCanvasAgg(figure)  # no display needed
    panels = figure.subplots(1, len(results), squeeze=False)
    for result, axes in zip(results, panels[0], strict=True):
        axes.set_title(result.scenario)
        PANELS[result.scenario](axes, result.series)
    figure.suptitle(heading)
    figure.tight_layout()
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


def _throughput(axes: Axes, series: Series) -> None:
    """Bars of the medians: one group per form, one colour per mix of lengths."""
    mixes = list(dict.fromkeys(name.partition(": ")[0] for name in series if not name.startswith("budget")))
    for number, mix in enumerate(mixes):
        own = {name.partition(": ")[2]: values for name, values in series.items() if name.startswith(f"{mix}: ")}
        places = np.arange(len(own)) + number / (len(mixes) + 1)
        axes.barh(places, [float(np.median(values)) for values in own.values()], 1 / (len(mixes) + 1), label=mix)
        axes.set_yticks(np.arange(len(own)) + 0.25, list(own), fontsize=7)
    axes.set(xlabel="pairs/s", xscale="log")
    axes.legend(fontsize=7)


PANELS: dict[str, Callable[[Axes, Series], None]] = {
    "saturation": _rounds,
    "lone": _distributions,
    "mixed": _distributions,
    "mixed-poisson": _distributions,
    "overload": _overload,
    "scoring": _throughput,
}
