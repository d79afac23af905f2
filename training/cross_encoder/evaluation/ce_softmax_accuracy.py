"""Accuracy of the largest output."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import check_pairs, class_labels, class_scores
from training.cross_encoder.evaluation.of_pairs import EvaluatorOfPairs
from training.cross_encoder.evaluation.scoring import report
from training.evaluation.processes import Pair

logger = logging.getLogger(__name__)


class CESoftmaxAccuracyEvaluator(EvaluatorOfPairs):
    """Returns the share of pairs whose largest output, of two or more, is that of their label.

    `CrossEncoderClassificationEvaluator` is the newer form. Raises ValueError for lists of different lengths and
    for a model with one output.
    """

    title = "CESoftmaxAccuracyEvaluator"

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        labels: Sequence[int],
        name: str = "",
        write_csv: bool = True,
        *,
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
    ) -> None:
        super().__init__(sentence_pairs, name, prompt_name, batch_size, show_progress_bar, write_csv)
        check_pairs(sentence_pairs, labels)
        self.labels = class_labels(labels)
        self.csv_headers = ["epoch", "steps", "Accuracy"]
        self.primary_metric = "accuracy"

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the accuracy."""
        predicted = class_scores(self.scored(model, epoch, steps)).argmax(axis=1)
        accuracy = float(np.mean(predicted == self.labels))
        logger.info(f"Accuracy: {accuracy * 100:.2f}")
        report(self, model, {"accuracy": accuracy}, output_path, epoch, steps)
        return accuracy
