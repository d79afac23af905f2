"""How evaluators call the model, and how they tell what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from training.evaluation.processes import Pair, Scores, predict
from training.evaluation.results import append_row


class PairEvaluator(Protocol):
    """What every evaluator of this package has."""

    name: str
    primary_metric: str | None
    prompt_name: str | None
    batch_size: int
    show_progress_bar: bool
    write_csv: bool
    csv_file: str
    csv_headers: list[str]

    def prefix_name_to_metrics(self, metrics: dict[str, Any], name: str) -> dict[str, Any]: ...

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: dict[str, Any], epoch: float, step: int
    ) -> None: ...


def score(evaluator: PairEvaluator, model: Any, pairs: Sequence[Pair]) -> Scores:
    """The model's scores with the evaluator's options; several processes share the work."""
    return predict(
        model,
        pairs,
        prompt_name=evaluator.prompt_name,
        batch_size=evaluator.batch_size,
        show_progress_bar=evaluator.show_progress_bar,
    )


def write(evaluator: PairEvaluator, output_path: str | None, row: Sequence[Any], line_end: str = "\r\n") -> None:
    """Adds a row to the evaluator's CSV file, if one is wanted."""
    if output_path is not None and evaluator.write_csv:
        append_row(output_path, evaluator.csv_file, evaluator.csv_headers, row, line_end)


def report(
    evaluator: PairEvaluator, model: Any, metrics: dict[str, Any], output_path: str | None, epoch: float, steps: int
) -> dict[str, float]:
    """Writes the metrics, in the order of the CSV columns, and gives them to the card; returns them with prefix."""
    write(evaluator, output_path, [epoch, steps, *metrics.values()])
    named = evaluator.prefix_name_to_metrics(metrics, evaluator.name)
    evaluator.store_metrics_in_model_card_data(model, named, epoch, steps)
    return named
