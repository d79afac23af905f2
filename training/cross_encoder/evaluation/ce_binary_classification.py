"""Average precision, and the best F1 score, of a binary classifier."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import binary_labels, check_pairs, single_scores
from training.cross_encoder.evaluation.classification import BINARY_HEADERS, binary_metrics, log_binary
from training.cross_encoder.evaluation.scoring import report, score
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.processes import Pair
from training.evaluation.results import file_name, moment, wants_progress

logger = logging.getLogger(__name__)


class CEBinaryClassificationEvaluator(BaseEvaluator):
    """Returns the average precision of the one output's scores for labels 0 and 1.

    The log, the CSV file and the card also have the accuracy and F1 score at their best thresholds.
    `CrossEncoderClassificationEvaluator` is the newer form, which returns them all. Raises ValueError for labels
    other than 0 and 1 and for lists of different lengths.
    """

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
        super().__init__()
        check_pairs(sentence_pairs, labels)
        self.sentence_pairs = sentence_pairs
        self.labels = binary_labels(np.asarray(labels))
        self.name = name
        self.show_progress_bar = wants_progress(show_progress_bar, logger)
        self.write_csv = write_csv
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.csv_file = file_name("CEBinaryClassificationEvaluator", name)
        self.csv_headers = BINARY_HEADERS
        self.primary_metric = "average_precision"

    @classmethod
    def from_input_examples(cls, examples: Sequence[Any], **kwargs: Any) -> CEBinaryClassificationEvaluator:
        """One pair and label per `InputExample`."""
        return cls([example.texts for example in examples], [example.label for example in examples], **kwargs)

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the average precision."""
        when = moment(epoch, steps)
        logger.info(f"CEBinaryClassificationEvaluator: Evaluating the model on {self.name} dataset{when}:")
        metrics = binary_metrics(single_scores(score(self, model, self.sentence_pairs)), self.labels)
        log_binary(logger, metrics)
        report(self, model, metrics, output_path, epoch, steps)
        return metrics["average_precision"]
