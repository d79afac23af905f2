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
from training.cross_encoder.evaluation.scoring import report, score
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.processes import Pair
from training.evaluation.results import file_name, moment, wants_progress

logger = logging.getLogger(__name__)
HEADERS = ["epoch", "steps", "Pearson_Correlation", "Spearman_Correlation"]


class CrossEncoderCorrelationEvaluator(BaseEvaluator):
    """Correlation of predicted with gold `scores`: keys `pearson` and the primary `spearman`.

    Raises ValueError unless there are at least two pairs and one score for each. If all predictions or all gold
    scores are equal there is no correlation: both are NaN, and the log says so.
    """

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
        super().__init__()
        check_correlated(sentence_pairs, scores)
        self.sentence_pairs = sentence_pairs
        self.scores = scores
        self.name = name
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = wants_progress(show_progress_bar, logger)
        self.write_csv = write_csv
        self.csv_file = file_name("CrossEncoderCorrelationEvaluator", name)
        self.csv_headers = HEADERS
        self.primary_metric = "spearman"

    @classmethod
    def from_input_examples(cls, examples: Sequence[Any], **kwargs: Any) -> CrossEncoderCorrelationEvaluator:
        """One pair and gold score per `InputExample`."""
        return cls([example.texts for example in examples], [example.label for example in examples], **kwargs)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Scores all pairs and returns the correlations."""
        when = moment(epoch, steps)
        logger.info(f"CrossEncoderCorrelationEvaluator: Evaluating the model on {self.name} dataset{when}:")
        predicted = single_scores(score(self, model, self.sentence_pairs))
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
