"""What evaluators of labelled pairs have in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from training.cross_encoder.evaluation.scoring import score
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.processes import Pair, Scores
from training.evaluation.results import file_name, moment, wants_progress

logger = logging.getLogger(__name__)


class EvaluatorOfPairs(BaseEvaluator):
    """Keeps the pairs and the options, and scores them; subclasses check the labels and make the metrics."""

    title: ClassVar[str]
    """Names the CSV file and the lines of the log, in subclasses of users too."""

    def __init__(
        self,
        sentence_pairs: Sequence[Pair],
        name: str,
        prompt_name: str | None,
        batch_size: int,
        show_progress_bar: bool | None,
        write_csv: bool,
    ) -> None:
        super().__init__()
        self.sentence_pairs = sentence_pairs
        self.name = name
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = wants_progress(show_progress_bar, logger)
        self.write_csv = write_csv
        self.csv_file = file_name(self.title, name)
        self.csv_headers: list[str] = []

    @classmethod
    def from_input_examples(cls, examples: Sequence[Any], **kwargs: Any) -> Self:
        """One pair and label per `InputExample`."""
        pairs, labels = [example.texts for example in examples], [example.label for example in examples]
        return cls(pairs, labels, **kwargs)  # type: ignore[arg-type]  # subclasses take labels second

    def metric_names(self, model: Any) -> list[str] | None:
        """None, since a number is returned, unless a subclass says otherwise."""
        return []

    def scored(self, model: Any, epoch: float, steps: int) -> Scores:
        """The model's scores of all pairs, told to the log."""
        logger.info(f"{self.title}: Evaluating the model on {self.name} dataset{moment(epoch, steps)}:")
        return score(self, model, self.sentence_pairs)
