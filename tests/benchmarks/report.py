"""The table: printed, and written as CSV and Markdown."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.bench import Figure

COLUMNS = ("scenario", "quantity", "value", "unit", "bar", "verdict")


def write_table(figures: Sequence[Figure], out: Path, heading: str) -> None:
    """Prints the table and writes `figures.csv` and `figures.md` into `out`."""
    rows = [_row(figure) for figure in figures]
    with (out / "figures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    lines = [_line(COLUMNS, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    table = "\n".join([*lines, *(_line(row, widths) for row in rows)])
    (out / "figures.md").write_text(f"{heading}\n\n{table}\n", encoding="utf-8")
    print(f"\n{heading}\n\n{table}")


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = "" if figure.passed is None else "pass" if figure.passed else "MISS"
    return figure.scenario, figure.quantity, f"{figure.value:.4g}", figure.unit, figure.bar, verdict


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
