"""Which evaluation was the best, and a model that is saved whole or not at all."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

logger = logging.getLogger(__name__)


def primary_score(evaluator: Any, result: Any) -> float | None:
    """The number that ranks an evaluation: the result itself, or exactly the evaluator's primary metric.

    None if the evaluator gives a dictionary and does not say which value counts (a single value does).
    """
    if not isinstance(result, dict):
        return float(result)
    name = getattr(evaluator, "primary_metric", None)
    if name in result:
        return float(result[name])
    if len(result) == 1:
        return float(next(iter(result.values())))
    logger.warning(
        "The evaluator's primary_metric %r is none of its results (%s): no best model can be told", name, list(result)
    )
    return None


class BestModel:
    """Keeps the model with the best score at `path`; with `path` None, only the score."""

    def __init__(self, path: str | Path | None, greater_is_better: bool = True) -> None:
        self.path = None if path is None else Path(path)
        self.greater_is_better = greater_is_better
        self.score: float | None = None
        self.saved = False

    def offer(self, model: Any, score: float) -> None:
        """Saves the model if its score is the best so far; a NaN never is."""
        improvement = score == score if self.score is None else score > self.score
        if self.score is not None and not self.greater_is_better:
            improvement = score < self.score
        if improvement:
            self.score = score
            self.save(model)

    def save(self, model: Any) -> None:
        """Saves the model, whatever it scores."""
        if self.path is not None:
            save_whole(model, self.path)
            self.saved = True


def save_whole(model: Any, path: Path) -> None:
    """Saves beside `path`'s files and moves the new ones in when all are written: no file is ever half there."""
    path.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path, prefix=".saving-") as folder:
        model.save_pretrained(folder)
        for file in sorted(file for file in Path(folder).rglob("*") if file.is_file()):
            target = path / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
