"""Scores of text pairs on a scale."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from training.cross_encoder.evaluation.class_metrics import Array, check_pairs, single_scores
from training.cross_encoder.evaluation.of_pairs import EvaluatorOfPairs
from training.cross_encoder.evaluation.scoring import report
from training.evaluation.evaluator import prefixed
from training.evaluation.processes import Pair

logger = logging.getLogger(__name__)
HEADERS = ["epoch", "steps", "Pearson_Correlation", "Spearman_Correlation"]


class CrossEncoderCorrelationEvaluator(EvaluatorOfPairs):
    """Correlation of predicted with gold `scores`: keys `pearson` and the primary `spearman`.

    Raises ValueError unless there are at least two pairs and one score for each. If all predictions or all gold
    scores are equal there is no correlation: both are NaN, and the log says so.
    """

    title = "CrossEncoderCorrelationEvaluator"

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        scores: Sequence[float],
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
    ) -> None:
        super().__init__(sentence_pairs, name, prompt_name, batch_size, show_progress_bar, write_csv)
        check_correlated(sentence_pairs, scores)
        self.scores = scores
        self.csv_headers = HEADERS
        self.primary_metric = "spearman"

    def metric_names(self, model: Any) -> list[str]:
        """Both coefficients."""
        return prefixed(["pearson", "spearman"], self.name)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Scores all pairs and returns the correlations."""
        predicted = single_scores(self.scored(model, epoch, steps))
        metrics = correlations(np.asarray(self.scores, dtype=np.float64), predicted)
        logger.info(f"Correlation:\tPearson: {metrics['pearson']:.4f}\tSpearman: {metrics['spearman']:.4f}")
        return report(self, model, metrics, output_path, epoch, steps)


def check_correlated(pairs: Sequence[Pair], scores: Sequence[float]) -> None:
    """Raises ValueError unless there are two pairs or more, and a gold score for each."""
    check_pairs(pairs, scores, "scores")
    if len(pairs) < 2:
        raise ValueError("a correlation needs at least two sentence_pairs")


def correlations(gold: Array, predicted: Array) -> dict[str, float]:
    """Pearson's and Spearman's coefficient, NaN where one side is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        found = {
            "pearson": float(stats.pearsonr(gold, predicted)[0]),
            "spearman": float(stats.spearmanr(gold, predicted)[0]),
        }
    if math.isnan(found["spearman"]):
        logger.warning("all predicted or all gold scores are equal: there is no correlation")
    return found
