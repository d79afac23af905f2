"""F1 scores of predicted classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import (
    check_pairs,
    class_labels,
    class_scores,
    f1_averages,
    f1_of_class,
    single_scores,
)
from training.cross_encoder.evaluation.of_pairs import EvaluatorOfPairs
from training.cross_encoder.evaluation.scoring import report
from training.evaluation.processes import Pair

logger = logging.getLogger(__name__)


class CEF1Evaluator(EvaluatorOfPairs):
    """Returns the F1 score of class 1 if there are two classes, and the mean F1 of all classes if there are more.

    The labels tell how many classes there are. The predicted class is that of the largest output; a model with one
    output predicts 1 for a score above 0.5. `CrossEncoderClassificationEvaluator` is the newer form. Raises
    ValueError for lists of different lengths.
    """

    title = "CEF1Evaluator"

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        labels: Sequence[int],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = False,
        name: str = "",
        write_csv: bool = True,
        prompt_name: str | None = None,
    ) -> None:
        super().__init__(sentence_pairs, name, prompt_name, batch_size, show_progress_bar, write_csv)
        check_pairs(sentence_pairs, labels)
        self.labels = class_labels(labels)
        self.binary = bool(np.isin(self.labels, (0, 1)).all())
        averages = ["Binary_F1"] if self.binary else ["Macro_F1", "Micro_F1", "Weighted_F1"]
        self.csv_headers = ["epoch", "steps", *averages]
        self.primary_metric = "f1" if self.binary else "f1_macro"

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all pairs and returns the F1 score."""
        scores = self.scored(model, epoch, steps)
        if model.num_labels == 1:
            predicted = (single_scores(scores) > 0.5).astype(np.int64)
        else:
            predicted = class_scores(scores).argmax(axis=1)
        metrics = {"f1": f1_of_class(self.labels, predicted)} if self.binary else f1_averages(self.labels, predicted)
        for header, value in zip(self.csv_headers[2:], metrics.values(), strict=True):
            logger.info(f"{header.replace('_', ' ')}: {value * 100:.2f}")
        report(self, model, metrics, output_path, epoch, steps)
        return next(iter(metrics.values()))
