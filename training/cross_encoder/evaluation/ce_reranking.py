"""Mean reciprocal rank of the first relevant document."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from training.cross_encoder.evaluation.class_metrics import single_scores
from training.cross_encoder.evaluation.reranking import pairs_of, rank_queries
from training.cross_encoder.evaluation.samples import Query, Sample, read_samples
from training.cross_encoder.evaluation.scoring import report, score
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.results import file_name, moment

logger = logging.getLogger(__name__)


class CERerankingEvaluator(BaseEvaluator):
    """Returns MRR@k: the mean over the queries of 1 / rank of the first relevant document, 0 below rank k.

    Samples are dicts of `query`, `positive` and `negative`, in a list or as the values of a dict; a query without
    positives or without negatives has nothing to rank and does not count. `CrossEncoderRerankingEvaluator` is the
    newer form. Raises ValueError naming the sample that lacks something, or if no query has anything to rank.
    """

    def __init__(
        self,
        samples: Iterable[Sample] | Mapping[Any, Sample],
        mrr_at_k: int = 10,
        name: str = "",
        write_csv: bool = True,
        *,
        at_k: int | None = None,
        prompt_name: str | None = None,
        batch_size: int = 64,
        show_progress_bar: bool = False,
    ) -> None:
        super().__init__()
        self.samples: list[Sample] = list(samples.values()) if isinstance(samples, Mapping) else list(samples)
        self.mrr_at_k = mrr_at_k if at_k is None else at_k
        self.name = name
        self.write_csv = write_csv
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.csv_file = file_name("CERerankingEvaluator", name, f"_results_@{self.mrr_at_k}.csv")
        self.csv_headers = ["epoch", "steps", f"MRR@{self.mrr_at_k}"]
        self.primary_metric = f"mrr@{self.mrr_at_k}"
        self.queries()

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> float:
        """Scores all lists in one pass and returns the mean reciprocal rank."""
        logger.info(f"CERerankingEvaluator: Evaluating the model on {self.name} dataset{moment(epoch, steps)}:")
        queries = self.queries()
        scores = single_scores(score(self, model, pairs_of(queries)))
        mrr = float(rank_queries(queries, scores, self.mrr_at_k)[:, 1].mean())
        logger.info(f"Queries: {len(queries)}\tMRR@{self.mrr_at_k}: {mrr * 100:.2f}")
        report(self, model, {f"mrr@{self.mrr_at_k}": mrr}, output_path, epoch, steps)
        return mrr

    def metric_names(self, model: Any) -> list[str]:
        """None: a number is returned."""
        return []

    def queries(self) -> list[Query]:
        """The samples that have something to rank. Raises ValueError if none has."""
        queries = [query for query in read_samples(self.samples, True) if query.positives and query.negatives]
        if not queries:
            raise ValueError("no sample has both positives and negatives; there is nothing to rank")
        return queries

    def get_config_dict(self) -> dict[str, Any]:
        """How deep the ranking is looked at."""
        return {"mrr_at_k": self.mrr_at_k}
