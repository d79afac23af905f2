"""Statistics of a dataset's columns: token counts, shares of labels, ranges, list lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training.cross_encoder.card.markdown import bullets, code, escape, table

ROWS = 100
"""The statistics are of the first so many rows."""
SAMPLES = 3
MOST_CLASSES = 20
"""Whole numbers of more distinct values than this are shown by their range."""

CountTokens = Callable[[list[str]], list[int]]


def statistics_table(columns: Mapping[str, Sequence[Any]], count_tokens: CountTokens) -> str:
    """One table column per column of the data: its type, and figures that suit the type."""
    described = {name: describe(values, count_tokens) for name, values in columns.items()}
    types = {"": "type"} | {escape(name): escape(kind) for name, (kind, _) in described.items()}
    details = {"": "details"} | {escape(name): bullets(figures) for name, (_, figures) in described.items()}
    return table([types, details])


def samples_table(columns: Mapping[str, Sequence[Any]]) -> str:
    """The first rows as they are, escaped."""
    rows = zip(*(values[:SAMPLES] for values in columns.values()), strict=True)
    return table([{escape(name): code(value) for name, value in zip(columns, row, strict=True)} for row in rows])


def describe(values: Sequence[Any], count_tokens: CountTokens) -> tuple[str, dict[str, str]]:
    """(name of the type, figures) of one column; missing values are left out."""
    present = [value for value in values if value is not None]
    if not present:
        return "none", {}
    for kind, figures in _KINDS:
        if all(isinstance(value, kind) for value in present):
            return kind.__name__.replace("str", "string"), figures(present, count_tokens)
    if all(isinstance(value, int | float) for value in present):
        return "float", _range(present)
    return type(present[0]).__name__, {}


def _text(texts: list[str], count_tokens: CountTokens) -> dict[str, str]:
    """Tokens, or characters where the tokeniser fails: a card without token counts beats none."""
    try:
        counts, unit = count_tokens(texts), "tokens"
    except Exception:
        counts, unit = [len(text) for text in texts], "characters"
    mean = sum(counts) / len(counts)
    return {"min": f"{min(counts)} {unit}", "mean": f"{mean:.2f} {unit}", "max": f"{max(counts)} {unit}"}


def _classes(values: list[int], _: CountTokens) -> dict[str, str]:
    counts = Counter(values)
    if len(counts) > MOST_CLASSES:
        return _range(values)
    about = "~" if len(counts) > 1 else ""
    return {str(value): f"{about}{counts[value] / len(values):.2%}" for value in sorted(counts)}


def _range(values: Sequence[float]) -> dict[str, str]:
    mean = sum(values) / len(values)
    return {"min": f"{min(values):.2f}", "mean": f"{mean:.2f}", "max": f"{max(values):.2f}"}


def _lengths(values: Sequence[Sequence[Any]], _: CountTokens) -> dict[str, str]:
    sizes = [len(value) for value in values]
    if min(sizes) == max(sizes):
        return {"size": f"{sizes[0]} elements"}
    mean = sum(sizes) / len(sizes)
    return {"min": f"{min(sizes)} elements", "mean": f"{mean:.2f} elements", "max": f"{max(sizes)} elements"}


_KINDS: tuple[tuple[type, Callable[[list[Any], CountTokens], dict[str, str]]], ...] = (
    (str, _text),
    (bool, _classes),  # before int: a bool is one
    (int, _classes),
    (float, lambda values, _: _range(values)),
    (list, _lengths),
)
