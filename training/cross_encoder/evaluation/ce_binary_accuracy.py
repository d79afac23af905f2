"""Accuracy at a fixed threshold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import binary_labels, check_pairs, class_labels, single_scores
from training.cross_encoder.evaluation.of_pairs import EvaluatorOfPairs
from training.cross_encoder.evaluation.scoring import report
from training.evaluation.processes import Pair

logger = logging.getLogger(__name__)


class CEBinaryAccuracyEvaluator(EvaluatorOfPairs):
    """Returns the share of pairs whose class is right: 1 if the score of the one output is above `threshold`, else 0.

    `CEBinaryClassificationEvaluator` finds the best threshold instead. `CrossEncoderClassificationEvaluator` is the
    newer form. Raises ValueError for labels other than 0 and 1 and for lists of different lengths.
    """

    title = "CEBinaryAccuracyEvaluator"

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        labels: Sequence[int],
        name: str = "",
        threshold: float = 0.5,
        write_csv: bool = True,
        *,
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
    ) -> None:
        super().__init__(sentence_pairs, name, prompt_name, batch_size, show_progress_bar, write_csv)
        check_pairs(sentence_pairs, labels)
        self.labels = binary_labels(class_labels(labels))
        self.threshold = threshold
        self.csv_headers = ["epoch", "steps", "Accuracy"]
        self.primary_metric = "accuracy"

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the accuracy."""
        scores = single_scores(self.scored(model, epoch, steps))
        accuracy = float(np.mean((scores > self.threshold) == self.labels))
        logger.info(f"Accuracy: {accuracy * 100:.2f}")
        report(self, model, {"accuracy": accuracy}, output_path, epoch, steps)
        return accuracy

    def get_config_dict(self) -> dict[str, Any]:
        """The threshold."""
        return {"threshold": self.threshold}
