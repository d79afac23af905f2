"""Average precision, and the best F1 score, of a binary classifier."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from training.cross_encoder.evaluation.class_metrics import binary_labels, check_pairs, class_labels, single_scores
from training.cross_encoder.evaluation.classification import BINARY_HEADERS, binary_metrics, log_binary
from training.cross_encoder.evaluation.of_pairs import EvaluatorOfPairs
from training.cross_encoder.evaluation.scoring import report
from training.evaluation.processes import Pair

logger = logging.getLogger(__name__)


class CEBinaryClassificationEvaluator(EvaluatorOfPairs):
    """Returns the average precision of the one output's scores for labels 0 and 1.

    The log, the CSV file and the card also have the accuracy and F1 score at their best thresholds.
    `CrossEncoderClassificationEvaluator` is the newer form, which returns them all. Raises ValueError for labels
    other than 0 and 1 and for lists of different lengths.
    """

    title = "CEBinaryClassificationEvaluator"

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        labels: Sequence[int],
        name: str = "",
        show_progress_bar: bool | None = False,
        write_csv: bool = True,
        *,
        prompt_name: str | None = None,
        batch_size: int = 32,
    ) -> None:
        super().__init__(sentence_pairs, name, prompt_name, batch_size, show_progress_bar, write_csv)
        check_pairs(sentence_pairs, labels)
        self.labels = binary_labels(class_labels(labels))
        self.csv_headers = BINARY_HEADERS
        self.primary_metric = "average_precision"

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the average precision."""
        metrics = binary_metrics(single_scores(self.scored(model, epoch, steps)), self.labels)
        log_binary(logger, metrics)
        report(self, model, metrics, output_path, epoch, steps)
        return metrics["average_precision"]
