"""Panels of the scoring and ranking scenarios, out of series that are named WHAT|MIX|FORM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

Series = Mapping[str, Sequence[float]]


def throughput(axes: Axes, series: Series) -> None:
    """Bars of the medians: one group per form, one colour per mix of lengths."""
    _bars(
        axes, {mix: {form: [_median(v)] for form, v in own.items()} for mix, own in _parts(series, "pairs/s").items()}
    )
    axes.set(xlabel="pairs/s", xscale="log")
    _legend(axes)


def latency(axes: Axes, series: Series) -> None:
    """The same of p50, with a line up to p99."""
    found = _parts(series, "latency")
    _bars(axes, {mix: {form: np.percentile(v, [50, 99]) for form, v in own.items()} for mix, own in found.items()})
    axes.set(xlabel="latency of 10 documents, p50 to p99 [ms]", xscale="log")
    _legend(axes)


def budgets(axes: Axes, series: Series) -> None:
    """Lines over the batch budget, texts as in traffic."""
    _by_budget(axes, series, "budget", "pairs/s")


def latency_budgets(axes: Axes, series: Series) -> None:
    """The same of the median latency."""
    _by_budget(axes, series, "latency by budget", "latency of 10 documents, p50 [ms]")


def changes(axes: Axes, series: Series) -> None:
    """What forms change of nDCG@10, by evaluation set, with a line of one standard error to both sides."""
    groups = _parts(series, "change")
    for number, (form, own) in enumerate(groups.items()):
        places = np.arange(len(own)) + 0.2 * number
        means, errors = zip(*own.values(), strict=True)
        axes.errorbar(means, places, xerr=errors, fmt="o", label=form)
        axes.set_yticks(np.arange(len(own)), list(own))
    axes.axvline(0.0, color="black", linewidth=0.5)
    axes.set(xlabel="change of nDCG@10 beside float32")
    _legend(axes)


def _by_budget(axes: Axes, series: Series, what: str, label: str) -> None:
    for sizes, own in _parts(series, what).items():
        for form, values in own.items():
            axes.plot([int(size) for size in sizes.split(",")], values, "o-", markersize=4, label=form)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="batch budget [tokens], lognormal lengths", ylabel=label, ylim=(0, None))
    _legend(axes)


def _bars(axes: Axes, groups: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Values are (length of the bar) or (length, end of a line)."""
    width = 1 / (len(groups) + 1)
    for number, (mix, own) in enumerate(groups.items()):
        places = np.arange(len(own)) + number * width
        axes.barh(places, [values[0] for values in own.values()], width, label=mix)
        axes.hlines(places, [values[0] for values in own.values()], [values[-1] for values in own.values()], "black")
        axes.set_yticks(np.arange(len(own)) + width * (len(groups) - 1) / 2, list(own), fontsize=7)
    axes.invert_yaxis()


def _legend(axes: Axes) -> None:
    """Below the panel, where nothing is drawn."""
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)


def _parts(series: Series, what: str) -> dict[str, dict[str, Sequence[float]]]:
    """Series by the second and third part of their names."""
    found: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in series.items():
        first, middle, form = name.split("|")
        if first == what:
            found.setdefault(middle, {})[form] = values
    return found


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))
