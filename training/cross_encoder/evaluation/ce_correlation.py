"""Rank correlation of scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import single_scores
from training.cross_encoder.evaluation.correlation import HEADERS, check_correlated, correlations
from training.cross_encoder.evaluation.scoring import report, score
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.processes import Pair
from training.evaluation.results import file_name, moment, wants_progress

logger = logging.getLogger(__name__)


class CECorrelationEvaluator(BaseEvaluator):
    """Returns Spearman's correlation of predicted with gold `scores`; the log and the CSV file have Pearson's too.

    `CrossEncoderCorrelationEvaluator` is the newer form, which returns both. Raises ValueError unless there are at
    least two pairs and one score for each.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        scores: Sequence[float],
        name: str = "",
        write_csv: bool = True,
        *,
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
    ) -> None:
        super().__init__()
        check_correlated(sentence_pairs, scores)
        self.sentence_pairs = sentence_pairs
        self.scores = scores
        self.name = name
        self.write_csv = write_csv
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = wants_progress(show_progress_bar, logger)
        self.csv_file = file_name("CECorrelationEvaluator", name)
        self.csv_headers = HEADERS
        self.primary_metric = "spearman"

    @classmethod
    def from_input_examples(cls, examples: Sequence[Any], **kwargs: Any) -> CECorrelationEvaluator:
        """One pair and gold score per `InputExample`."""
        return cls([example.texts for example in examples], [example.label for example in examples], **kwargs)

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the rank correlation."""
        logger.info(f"CECorrelationEvaluator: Evaluating the model on {self.name} dataset{moment(epoch, steps)}:")
        predicted = single_scores(score(self, model, self.sentence_pairs))
        metrics = correlations(np.asarray(self.scores, dtype=np.float64), predicted)
        logger.info(f"Correlation:\tPearson: {metrics['pearson']:.4f}\tSpearman: {metrics['spearman']:.4f}")
        report(self, model, metrics, output_path, epoch, steps)
        return metrics["spearman"]
