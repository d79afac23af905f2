"""The table: printed, and written as CSV and Markdown."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.bench import Figure, Result

COLUMNS = ("scenario", "quantity", "value", "unit", "bar", "verdict")


def write_table(results: Sequence[Result], out: Path, heading: str) -> None:
    """Prints the table, and those of single scenarios, and writes `figures.csv` and `figures.md` into `out`."""
    rows = [_row(figure) for result in results for figure in result.figures]
    with (out / "figures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    tables = [table for result in results for table in result.tables]
    text = "\n\n".join([heading, *tables, markdown(COLUMNS, rows)])
    (out / "figures.md").write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{text}")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned table."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = "" if figure.passed is None else "pass" if figure.passed else "MISS"
    return figure.scenario, figure.quantity, f"{figure.value:.4g}", figure.unit, figure.bar, verdict
