"""Accuracy at a fixed threshold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import binary_labels, check_pairs, single_scores
from training.cross_encoder.evaluation.scoring import report, score
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.processes import Pair
from training.evaluation.results import file_name, moment, wants_progress

logger = logging.getLogger(__name__)


class CEBinaryAccuracyEvaluator(BaseEvaluator):
    """Returns the share of pairs whose class is right: 1 if the score of the one output is above `threshold`, else 0.

    `CEBinaryClassificationEvaluator` finds the best threshold instead. `CrossEncoderClassificationEvaluator` is the
    newer form. Raises ValueError for labels other than 0 and 1 and for lists of different lengths.
    """

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
        super().__init__()
        check_pairs(sentence_pairs, labels)
        self.sentence_pairs = sentence_pairs
        self.labels = binary_labels(np.asarray(labels))
        self.name = name
        self.threshold = threshold
        self.write_csv = write_csv
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = wants_progress(show_progress_bar, logger)
        self.csv_file = file_name("CEBinaryAccuracyEvaluator", name)
        self.csv_headers = ["epoch", "steps", "Accuracy"]
        self.primary_metric = "accuracy"

    @classmethod
    def from_input_examples(cls, examples: Sequence[Any], **kwargs: Any) -> CEBinaryAccuracyEvaluator:
        """One pair and label per `InputExample`."""
        return cls([example.texts for example in examples], [example.label for example in examples], **kwargs)

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the accuracy."""
        logger.info(f"CEBinaryAccuracyEvaluator: Evaluating the model on {self.name} dataset{moment(epoch, steps)}:")
        scores = single_scores(score(self, model, self.sentence_pairs))
        accuracy = float(np.mean((scores > self.threshold) == self.labels))
        logger.info(f"Accuracy: {accuracy * 100:.2f}")
        report(self, model, {"accuracy": accuracy}, output_path, epoch, steps)
        return accuracy

    def get_config_dict(self) -> dict[str, Any]:
        """The threshold."""
        return {"threshold": self.threshold}
