"""What `rerank-training evaluate` tells: tables for people, JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluate_result import Result
from training.significance import LEVEL, Comparison, Interval

DIGITS = 4
NAME_WIDTH = 16


def describe(result: Result) -> str:
    """A block of text: size, figures with intervals, comparisons, and the curve over rerank depth."""
    task = result.task
    pairs = sum(len(names) for names in task.candidates.values())
    lines = [
        f"{task.name} ({len(task.queries)} queries): the first {result.depth} of {task.retrieval} reranked; "
        f"{pairs:,} pairs scored"
    ]
    lines += [f"  {note}" for note in task.notes]
    lines += figures_table(result)
    for (first, second), comparisons in result.comparisons.items():
        lines += ["", *comparison_table(f"{second} - {first}", result.measures, comparisons)]
    if len(result.curve.depths) > 1 and result.curve.means:
        lines += ["", *curve_table(result)]
    return "\n".join([*lines, ""])


def figures_table(result: Result) -> list[str]:
    """Measures by rankers: mean and interval."""
    cells = {
        name: [f"{mean:.3f} {_bounds(own)}" for mean, own in zip(result.means(name).values(), bounds, strict=True)]
        for name, bounds in result.intervals.items()
    }
    return _table(f"mean [{LEVEL:.0%}]", result.measures, cells)


def comparison_table(title: str, measures: Sequence[str], comparisons: Sequence[Comparison]) -> list[str]:
    """Measures by difference, its interval, and the p-values of both tests."""
    cells = {
        "difference": [f"{one.difference:+.3f} {_bounds(one.interval, '+')}" for one in comparisons],
        "p (permutation)": [_p(one.p_permutation) for one in comparisons],
        "p (t-test)": [_p(one.p_t) for one in comparisons],
    }
    return _table(title, measures, cells)


def curve_table(result: Result) -> list[str]:
    """Rerank depths by rankers: mean, and the interval of its gain over the first stage."""
    curve = result.curve
    cells = {
        name: [f"{curve.start:.3f}"]
        + [f"{mean:.3f} {_bounds(own, '+')}" for mean, own in zip(means, gains, strict=True)]
        for (name, means), gains in zip(curve.means.items(), curve.gains.values(), strict=True)
    }
    rows = ["none reranked", *(f"{depth} reranked" for depth in curve.depths)]
    return _table(f"{curve.measure} [gain]", rows, cells)


def summary(results: Sequence[Result]) -> str:
    """One line per evaluation set, with the means of the first three measures of every ranker."""
    rankers = list(dict.fromkeys(_column(result, name) for result in results for name in result.rankers))
    shown = results[0].measures[:3]
    width = max([NAME_WIDTH, *(len(_title(result)) for result in results)]) + 2
    lines = [f"{' / '.join(shown):{width}}" + "".join(f"{name:>24}" for name in rankers)]
    for result in results:
        cells = {
            _column(result, name): " / ".join(f"{result.means(name)[m]:.3f}" for m in shown) for name in result.rankers
        }
        lines.append(f"{_title(result):{width}}" + "".join(f"{cells.get(name, ''):>24}" for name in rankers))
    return "\n".join(lines)


def as_json(result: Result) -> dict[str, Any]:
    """Means by ranker and `size`, as they are recorded too, and `details`: all the rest, figures per query included."""
    curve = result.curve
    details = {
        "first_stage": result.task.first_stage,
        "retrieval": result.task.retrieval,
        "depth": result.depth,
        "notes": list(result.task.notes),
        "level": LEVEL,
        "intervals": {name: dict(zip(result.measures, own, strict=True)) for name, own in result.intervals.items()},
        "comparisons": compared_json(result),
        "curve": {
            "measure": curve.measure,
            "depths": list(curve.depths),
            "start": curve.start,
            "means": curve.means,
            "gains": curve.gains,
        },
        "per_query": per_query(result),
    }
    return {**recorded(result), "details": _plain(details)}


def recorded(result: Result) -> dict[str, dict[str, float]]:
    """What a manifest keeps: the means of every ranker, and the size of the set."""
    means = {name: {key: round(value, DIGITS) for key, value in result.means(name).items()} for name in result.rankers}
    pairs = sum(len(names) for names in result.task.candidates.values())
    return means | {"size": {"queries": float(len(result.task.queries)), "pairs": float(pairs)}}


def compared_json(result: Result) -> list[dict[str, Any]]:
    """One object for each pair of rankers and measure."""
    return [
        {"first": first, "second": second, "measure": name, **_plain(one._asdict())}
        for (first, second), comparisons in result.comparisons.items()
        for name, one in zip(result.measures, comparisons, strict=True)
    ]


def per_query(result: Result) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by query id, ranker and measure."""
    return {
        key: {
            name: dict(zip(result.measures, values[i].tolist(), strict=True)) for name, values in result.values.items()
        }
        for i, key in enumerate(result.task.queries)
    }


def _table(corner: str, rows: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Aligned text with a heading line, indented."""
    first = max([NAME_WIDTH, *map(len, [corner, *rows])])
    widths = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    lines = [f"  {corner:{first}}" + "".join(f"  {name:>{widths[name]}}" for name in columns)]
    for i, row in enumerate(rows):
        lines.append(f"  {row:{first}}" + "".join(f"  {cells[i]:>{widths[name]}}" for name, cells in columns.items()))
    return lines


def _title(result: Result) -> str:
    return f"{result.task.name} ({len(result.task.queries)})"


def _column(result: Result, ranker: str) -> str:
    """First stages share a column, whatever they are."""
    return "first stage" if ranker == result.task.first_stage else ranker


def _bounds(interval: Interval, sign: str = "") -> str:
    return f"[{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _plain(value: Any) -> Any:
    """Without named tuples, with rounded numbers, and null for what is no number: JSON knows no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
