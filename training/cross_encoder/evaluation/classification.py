"""Classes of text pairs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from training.cross_encoder.evaluation.class_metrics import (
    Array,
    best_accuracy,
    best_f1,
    binary_labels,
    check_pairs,
    class_labels,
    class_scores,
    f1_averages,
    single_scores,
)
from training.cross_encoder.evaluation.of_pairs import EvaluatorOfPairs
from training.cross_encoder.evaluation.rank_metrics import average_precision
from training.cross_encoder.evaluation.scoring import report
from training.evaluation.evaluator import prefixed
from training.evaluation.processes import Pair

logger = logging.getLogger(__name__)
BINARY_HEADERS = [
    *("epoch", "steps", "Accuracy", "Accuracy_Threshold", "F1", "F1_Threshold", "Precision", "Recall"),
    "Average_Precision",
]


class CrossEncoderClassificationEvaluator(EvaluatorOfPairs):
    """How well the predicted classes of pairs agree with their `labels`.

    A model with one output is a binary classifier: keys `accuracy` and `f1`, each at its best threshold, their
    `..._threshold`, `precision` and `recall` of that F1, and the primary `average_precision`. A model with more
    outputs predicts the class of the largest: keys `f1_micro`, `f1_weighted` and the primary `f1_macro`.
    Raises ValueError if there are no pairs or not one label for each, for labels that are no class ids, and for
    others than 0 and 1 where the model has one output. Other keyword arguments are taken and ignored, as older
    scripts need it.
    """

    title = "CrossEncoderClassificationEvaluator"

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        labels: Sequence[int],
        *,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
        **_ignored: Any,
    ) -> None:
        super().__init__(sentence_pairs, name, prompt_name, batch_size, show_progress_bar, write_csv)
        check_pairs(sentence_pairs, labels)
        self.labels = class_labels(labels)

    def metric_names(self, model: Any) -> list[str]:
        """Seven keys for a model with one output, else three."""
        binary = [header.lower() for header in BINARY_HEADERS[2:]]
        return prefixed(binary if model.num_labels == 1 else ["f1_macro", "f1_micro", "f1_weighted"], self.name)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Scores all pairs and returns the metrics."""
        scores = self.scored(model, epoch, steps)
        if model.num_labels == 1:
            metrics = binary_metrics(single_scores(scores), binary_labels(self.labels))
            log_binary(logger, metrics)
            self.csv_headers, self.primary_metric = BINARY_HEADERS, "average_precision"
        else:
            metrics = f1_averages(self.labels, class_scores(scores).argmax(axis=1))
            for average, value in metrics.items():
                logger.info(f"{average[3:].capitalize()} F1:".ljust(20) + f"{value * 100:.2f}")
            self.csv_headers = ["epoch", "steps", "Macro_F1", "Micro_F1", "Weighted_F1"]
            self.primary_metric = "f1_macro"
        return report(self, model, metrics, output_path, epoch, steps)


def binary_metrics(scores: Array, labels: Array) -> dict[str, float]:
    """The metrics of a binary classifier, in the order of `BINARY_HEADERS`."""
    accuracy, accuracy_threshold = best_accuracy(scores, labels)
    best = best_f1(scores, labels)
    return {
        "accuracy": accuracy,
        "accuracy_threshold": accuracy_threshold,
        "f1": best.f1,
        "f1_threshold": best.threshold,
        "precision": best.precision,
        "recall": best.recall,
        "average_precision": average_precision(scores, labels),
    }


def log_binary(log: logging.Logger, metrics: dict[str, float]) -> None:
    """Tells the metrics of a binary classifier in percent."""
    rows = ("accuracy", "f1", "precision", "recall", "average_precision")
    for key, title in zip(rows, ("Accuracy", "F1", "Precision", "Recall", "Average Precision"), strict=True):
        threshold = metrics.get(f"{key}_threshold")
        note = "" if threshold is None else f"\t(Threshold: {threshold:.4f})"
        log.info(f"{title}:".ljust(19) + f"{metrics[key] * 100:.2f}{note}")
