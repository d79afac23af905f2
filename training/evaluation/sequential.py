"""Several evaluators as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from training.evaluation.evaluator import BaseEvaluator, known_metrics


def last(scores: list[float]) -> float:
    """The score of the last evaluator."""
    return scores[-1]


class SequentialEvaluator(BaseEvaluator):
    """Runs evaluators one after the other: their metrics in one dict, and `sequential_score`.

    `main_score_function` makes that score of the evaluators' primary figures, in their order; it takes the last if
    nothing else is said. An evaluator that returns a number is found under `evaluator_INDEX`.
    """

    def __init__(
        self, evaluators: Iterable[BaseEvaluator], main_score_function: Callable[[list[float]], float] = last
    ) -> None:
        super().__init__()
        self.evaluators = list(evaluators)
        self.main_score_function = main_score_function

    def metric_names(self, model: Any) -> list[str] | None:
        """Those of all, if each knows its own."""
        names = ["sequential_score"]
        for index, evaluator in enumerate(self.evaluators):
            found = known_metrics(evaluator, model)
            if found is None:
                return None
            names += found or [f"evaluator_{index}"]
        return names

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Metrics of all; without evaluators the score is 0."""
        results: dict[str, float] = {}
        scores = []
        for index, evaluator in enumerate(self.evaluators):
            found = evaluator(model, output_path, epoch, steps)
            if isinstance(found, dict):
                primary = getattr(evaluator, "primary_metric", None)
                scores.append(found[primary] if primary is not None else next(iter(found.values())))
                results |= found
            else:
                scores.append(found)
                results[f"evaluator_{index}"] = found
        self.primary_metric = "sequential_score"
        results[self.primary_metric] = self.main_score_function(scores) if scores else 0.0
        return results
