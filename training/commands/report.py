"""What a finished run tells about itself: in the manifest, in the card, and as a picture."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from app.model.manifest import Manifest, digest
from training.commands.data import Part
from training.commands.secrets import without_secrets
from training.recipe import Recipe

NOT_SHOWN = {"output", "data_root"}
"""Where the data and the output lay on one machine says nothing to a reader elsewhere."""
FINAL_STEPS = 50
"""The last steps, over which the final loss is averaged."""


def losses_of(history: Iterable[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step, mean loss since the point before) from the trainer's log."""
    return [(int(entry["step"]), float(entry["loss"])) for entry in history if "loss" in entry]


def evaluations_of(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Step and figures of each evaluation."""
    found = []
    for entry in history:
        figures = {key.removeprefix("eval_"): _known(value) for key, value in entry.items() if key.startswith("eval_")}
        if figures := {key: value for key, value in figures.items() if not key.endswith(("runtime", "per_second"))}:
            found.append({"step": int(entry["step"]), **figures})
    return found


def _known(value: Any) -> Any:
    """JSON has no NaN, which a correlation with scores that are all the same is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def metrics_of(state: Any, recipe: Recipe, elapsed_s: float) -> dict[str, Any]:
    """The figures of a run for its manifest."""
    losses, evaluations = losses_of(state.log_history), evaluations_of(state.log_history)
    metrics: dict[str, Any] = {"steps": int(state.global_step), "seconds_since_resume": elapsed_s}
    if losses:  # which [arguments] may leave unlogged
        last = [loss for step, loss in losses if step > state.global_step - FINAL_STEPS] or [losses[-1][1]]
        metrics["final_loss"] = sum(last) / len(last)
    if evaluations:
        metrics["evaluations"] = evaluations
    if recipe.keep_best:
        metrics["kept_step"] = state.best_global_step
    return metrics


def data_entries(recipe: Recipe, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Name, origin and digests of each data set."""
    entries = []
    for dataset, part in zip(recipe.datasets, parts, strict=True):
        licence = {} if dataset.licence is None else {"licence": dataset.licence}
        pairs = part.kind != "table" and "document" in part.rows.column_names
        size = {"pairs" if pairs else "rows": len(part.rows)}
        entries.append({"name": part.name, "split": dataset.split, **licence, **size, "sha256": part.sha256})
    return entries


def manifest_of(
    recipe: Recipe, parent: Path, parts: Sequence[Part], labels: Sequence[str], metrics: dict[str, Any]
) -> Manifest:
    """`reranker.json`, but for the digests of the files."""
    provenance = {
        "parent": {"name": recipe.parent, "weights": {p.name: digest(p) for p in sorted(parent.glob("*.safetensors"))}},
        "data": data_entries(recipe, parts),
        "recipe": resolved(recipe),
        "training": metrics,
        "software": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    activation = "sigmoid" if recipe.num_labels == 1 else "identity"
    return Manifest(recipe.serving_max_length, activation, list(labels), provenance=provenance)


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe with its defaults and the overrides of the command line, without what was left open."""
    return without_secrets(recipe, exclude=NOT_SHOWN, exclude_none=True)


def card_section(manifest: Manifest) -> str:
    """The end of the model card: data with digests, figures, recipe."""
    provenance = manifest.provenance
    lines = ["", "## Recipe", "", "| Data set | Split | Licence | Rows | SHA-256 |", "|---|---|---|---|---|"]
    for entry in provenance["data"]:
        sums = ", ".join(f"{name} `{value[:16]}`" for name, value in list(entry["sha256"].items())[:4])
        cells = [entry["name"], entry["split"], entry.get("licence", ""), entry.get("pairs", entry.get("rows")), sums]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    figures = {key: value for key, value in provenance["training"].items() if key != "evaluations"}
    lines += ["", *(f"- {key}: {value}" for key, value in figures.items())]
    for entry in provenance["training"].get("evaluations", [])[-1:]:
        lines += ["", "Last evaluation during training:", "", *(f"- {key}: {value}" for key, value in entry.items())]
    lines += ["", "![Learning curve](learning_curve.png)", "", "The whole recipe, with its defaults:", "", "```json"]
    return "\n".join([*lines, json.dumps(provenance["recipe"], indent=2, ensure_ascii=False), "```", ""])
