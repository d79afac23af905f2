"""The training log: one row per step at which a loss or a metric is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.cross_encoder.card.evaluations import plain
from training.cross_encoder.card.markdown import escape, folded, number, table

FOLDED_ABOVE = 100
TRAINING_LOSS, VALIDATION_LOSS = "Training Loss", "Validation Loss"
_FIRST = ("Epoch", "Step", TRAINING_LOSS, VALIDATION_LOSS)

Row = dict[str, Any]


def add(rows: list[Row], epoch: float | None, step: int, values: Mapping[str, Any]) -> None:
    """Puts `values` into the row of `step`, which is made where it is missing.

    Without a step (-1), a row is that of an epoch's end, or of an evaluation outside of training (epoch -1).
    """
    if not values:
        return
    candidates = rows[-1:] if step < 0 else rows
    same = (row for row in reversed(candidates) if row["Step"] == step and (step >= 0 or row["Epoch"] == epoch))
    row = next(same, None)
    if row is None:
        row = {"Epoch": epoch, "Step": step}
        rows.append(row)
    row.update({key: plain(value) for key, value in values.items()})


def before_training(rows: Sequence[Row]) -> list[Row]:
    """The evaluations outside of training since the last step of the last run."""
    last = max((index for index, row in enumerate(rows) if not _outside(row)), default=-1)
    return list(rows[last + 1 :])


def _outside(row: Row) -> bool:
    return bool(row["Step"] < 0 and (row["Epoch"] is None or row["Epoch"] < 0))


def losses_in(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation losses among the Trainer's metrics, under the names of the table's columns."""
    found = {key: value for key, value in metrics.items() if key.startswith("eval_") and key.endswith("_loss")}
    if list(found) == ["eval_loss"]:
        return {VALIDATION_LOSS: found["eval_loss"]}
    return {key.removeprefix("eval_").replace("_", " "): value for key, value in found.items()}


def replay(rows: list[Row], history: Sequence[Mapping[str, Any]], primaries: Sequence[str]) -> None:
    """Adds what a resumed run logged before it was interrupted, from the Trainer's own history."""
    for entry in history:
        epoch, step = entry.get("epoch"), int(entry.get("step", 0))
        if "loss" in entry:
            add(rows, epoch, step, {TRAINING_LOSS: entry["loss"]})
        metrics = {name: entry[f"eval_{name}"] for name in primaries if f"eval_{name}" in entry}
        add(rows, epoch, step, losses_in(entry) | metrics)


def section(rows: Sequence[Row], best_step: int | None) -> str:
    """The table, the row of the saved checkpoint in bold; folded where it is long."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    columns = sorted(keys, key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), keys.index(key)))
    trained = [index for index, row in enumerate(rows) if not _outside(row)]
    lines = []
    for index, row in enumerate(rows):
        cells = {escape(key): number(row[key]) if row.get(key) is not None else "-" for key in columns}
        if _outside(row):
            cells |= {"Epoch": "-", "Step": "before" if trained and index < trained[0] else "after"}
        elif row["Step"] < 0:
            cells["Step"] = "-"
        bold = best_step is not None and row["Step"] == best_step
        lines.append({key: f"**{cell}**" for key, cell in cells.items()} if bold else cells)
    text = table(lines)
    if any(row["Step"] == best_step for row in rows):
        text += "\n\n* The bold row denotes the saved checkpoint."
    return folded("Click to expand", text) if len(rows) > FOLDED_ABOVE else text
