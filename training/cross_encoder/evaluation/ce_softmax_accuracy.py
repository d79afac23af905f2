"""Accuracy of the largest output."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import check_pairs, class_scores
from training.cross_encoder.evaluation.scoring import report, score
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.processes import Pair
from training.evaluation.results import file_name, moment, wants_progress

logger = logging.getLogger(__name__)


class CESoftmaxAccuracyEvaluator(BaseEvaluator):
    """Returns the share of pairs whose largest output, of two or more, is that of their label.

    `CrossEncoderClassificationEvaluator` is the newer form. Raises ValueError for lists of different lengths and
    for a model with one output.
    """

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
        super().__init__()
        check_pairs(sentence_pairs, labels)
        self.sentence_pairs = sentence_pairs
        self.labels = np.asarray(labels)
        self.name = name
        self.write_csv = write_csv
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = wants_progress(show_progress_bar, logger)
        self.csv_file = file_name("CESoftmaxAccuracyEvaluator", name)
        self.csv_headers = ["epoch", "steps", "Accuracy"]
        self.primary_metric = "accuracy"

    @classmethod
    def from_input_examples(cls, examples: Sequence[Any], **kwargs: Any) -> CESoftmaxAccuracyEvaluator:
        """One pair and label per `InputExample`."""
        return cls([example.texts for example in examples], [example.label for example in examples], **kwargs)

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the accuracy."""
        logger.info(f"CESoftmaxAccuracyEvaluator: Evaluating the model on {self.name} dataset{moment(epoch, steps)}:")
        predicted = class_scores(score(self, model, self.sentence_pairs)).argmax(axis=1)
        accuracy = float(np.mean(predicted == self.labels))
        logger.info(f"Accuracy: {accuracy * 100:.2f}")
        report(self, model, {"accuracy": accuracy}, output_path, epoch, steps)
        return accuracy
