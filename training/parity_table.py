"""Parity figures as text."""

from __future__ import annotations

from collections.abc import Mapping

COLUMNS = {
    "max_score_difference": "max score diff.",
    "mean_score_difference": "mean",
    "max_logit_difference": "max logit diff.",
    "kendall_tau": "Kendall tau",
    "top10_overlap": "top-10 overlap",
    "ndcg10_change": "nDCG@10",
    "batch_dependence": "batch dep.",
    "throughput_ratio": "speed",
}


def parity_table(targets: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table, one line per target; speed is a multiple of the float32 reference's."""
    rows = ["| target | rows | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, figures in targets.items():
        cells = [_cell(key, figures[key]) if key in figures else "" for key in COLUMNS]
        rows.append(f"| {name} | {figures['rows']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(key: str, value: float) -> str:
    if key == "throughput_ratio":
        return f"{value:.2f} x"
    return f"{value:+.4f}" if key == "ndcg10_change" else f"{value:.4g}"
