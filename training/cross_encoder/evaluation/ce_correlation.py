"""Rank correlation of scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import single_scores
from training.cross_encoder.evaluation.correlation import HEADERS, check_correlated, correlations
from training.cross_encoder.evaluation.of_pairs import EvaluatorOfPairs
from training.cross_encoder.evaluation.scoring import report
from training.evaluation.processes import Pair

logger = logging.getLogger(__name__)


class CECorrelationEvaluator(EvaluatorOfPairs):
    """Returns Spearman's correlation of predicted with gold `scores`; the log and the CSV file have Pearson's too.

    `CrossEncoderCorrelationEvaluator` is the newer form, which returns both. Raises ValueError unless there are at
    least two pairs and one score for each.
    """

    title = "CECorrelationEvaluator"

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
        super().__init__(sentence_pairs, name, prompt_name, batch_size, show_progress_bar, write_csv)
        check_correlated(sentence_pairs, scores)
        self.scores = scores
        self.csv_headers = HEADERS
        self.primary_metric = "spearman"

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the rank correlation."""
        predicted = single_scores(self.scored(model, epoch, steps))
        metrics = correlations(np.asarray(self.scores, dtype=np.float64), predicted)
        logger.info(f"Correlation:\tPearson: {metrics['pearson']:.4f}\tSpearman: {metrics['spearman']:.4f}")
        report(self, model, metrics, output_path, epoch, steps)
        return metrics["spearman"]
