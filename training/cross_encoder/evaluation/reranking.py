"""Ranked lists of documents for queries."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from training.cross_encoder.evaluation.class_metrics import Array, single_scores
from training.cross_encoder.evaluation.rank_metrics import ranking_metrics
from training.cross_encoder.evaluation.samples import Query, Sample, read_samples
from training.cross_encoder.evaluation.scoring import score, write
from training.evaluation.evaluator import BaseEvaluator, prefixed
from training.evaluation.results import file_name, moment

logger = logging.getLogger(__name__)


class CrossEncoderRerankingEvaluator(BaseEvaluator):
    """MAP, MRR@k and nDCG@k of the documents of each query, ordered by the model's scores.

    A sample is a dict: `query`, `positive` (a text or several), and either `negative` (irrelevant texts) or
    `documents` (what a first-stage retriever returned, best first, relevant texts among them). With `documents` the
    retriever's own figures are given too, as `base_...`: relevant texts that it missed stand at the end of its list,
    and a list without any relevant text scores 0.

    Graded relevance: `positive` may be a dict of text to grade, or a list with a list `relevance` of the same length
    beside it. Grades are above 0 and are the gains of nDCG; MAP and MRR count every positive alike.

    `always_rerank_positives` lets the model score all positives, also those the retriever missed, for a clearer
    signal. False is the realistic mode: the model scores `documents` only, and positives that the retriever missed
    count as ranked right behind the last of them, one after the other, with and without the model. So the figures stay
    comparable with `base_...` (a model that keeps the retriever's order scores the same), and no model gets to 1 where
    the retriever missed a positive; sentence-transformers 6.2 leaves those positives out of the model's figures.

    Queries without positives score 0. Documents with equal scores share their rank in MAP and nDCG.
    Raises ValueError naming the sample that lacks something.
    """

    def __init__(
        self,
        samples: Iterable[Sample] | Mapping[Any, Sample],
        at_k: int = 10,
        always_rerank_positives: bool = True,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 64,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        mrr_at_k: int | None = None,
    ) -> None:
        super().__init__()
        if mrr_at_k is not None:
            logger.warning(f"`mrr_at_k` is the old name of `at_k`; use `at_k={mrr_at_k}`")
            at_k = mrr_at_k
        if at_k < 1:
            raise ValueError(f"`at_k` is the number of ranks that count, 1 or more; got {at_k}")
        self.samples: list[Sample] = list(samples.values()) if isinstance(samples, Mapping) else list(samples)
        read_samples(self.samples, always_rerank_positives)
        self.at_k = at_k
        self.always_rerank_positives = always_rerank_positives
        self.name = name
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.csv_file = file_name("CrossEncoderRerankingEvaluator", name, f"_results_@{at_k}.csv")
        self.csv_headers = ["epoch", "steps", "MAP", f"MRR@{at_k}", f"NDCG@{at_k}"]
        self.primary_metric = f"ndcg@{at_k}"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Scores all lists in one pass and returns the metrics."""
        queries = self.queries()
        pairs = pairs_of(queries)
        scores = score(self, model, pairs) if pairs else np.zeros(0)
        return self.conclude(queries, scores, model, output_path, epoch, steps)

    def metric_names(self, model: Any) -> list[str]:
        """Three keys, and those of the retriever where its documents are given."""
        keys = ["map", f"mrr@{self.at_k}", f"ndcg@{self.at_k}"]
        if any("documents" in sample for sample in self.samples):
            keys += [f"base_{key}" for key in keys]
        return prefixed(keys, self.name)

    def queries(self) -> list[Query]:
        """The samples as they stand now."""
        return read_samples(self.samples, self.always_rerank_positives)

    def conclude(
        self,
        queries: Sequence[Query],
        scores: Array,
        model: Any,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        """Metrics from the `scores` of `pairs_of(queries)`: log, CSV row, card and the dict with prefixed keys."""
        when = moment(epoch, steps)
        logger.info(f"CrossEncoderRerankingEvaluator: Evaluating the model on the {self.name} dataset{when}:")
        keys = ("map", f"mrr@{self.at_k}", f"ndcg@{self.at_k}")
        reranked = rank_queries(queries, single_scores(scores), self.at_k)
        metrics = dict(zip(keys, means(reranked), strict=True))
        base = base_metrics(queries, self.at_k)
        base_means = {} if base is None else dict(zip(keys, means(base), strict=True))
        log_sizes(queries)
        log_metrics(logger, metrics, base_means)
        write(self, output_path, [epoch, steps, *metrics.values()])
        named = self.prefix_name_to_metrics(
            metrics | {f"base_{key}": value for key, value in base_means.items()}, self.name
        )
        card = with_changes(metrics, base_means) if base_means else metrics
        self.store_metrics_in_model_card_data(model, self.prefix_name_to_metrics(card, self.name), epoch, steps)
        return named

    def compute_metrics(self, y_true: Sequence[float], y_pred: Sequence[float]) -> tuple[float, float, float]:
        """MRR@k, nDCG@k and average precision of one list."""
        ap, mrr, ndcg = ranking_metrics([np.asarray(y_pred)], [np.asarray(y_true, dtype=np.float64)], self.at_k)[0]
        return float(mrr), float(ndcg), float(ap)

    def get_config_dict(self) -> dict[str, Any]:
        """`at_k`, and the mode where it matters."""
        config: dict[str, Any] = {"at_k": self.at_k}
        if self.samples and "documents" in self.samples[0]:
            config["always_rerank_positives"] = self.always_rerank_positives
        return config


def pairs_of(queries: Iterable[Query]) -> list[list[str]]:
    """All pairs to score, query by query; a query that cannot earn anything is left out."""
    return [[query.text, document] for query in queries if not query.hopeless for document in query.documents]


def rank_queries(queries: Sequence[Query], scores: Array, k: int) -> Array:
    """MAP, MRR@k and nDCG@k per query: shape (queries, 3). `scores` are those of `pairs_of(queries)`."""
    lists, grades = [], []
    start = 0
    for query in queries:
        size = 0 if query.hopeless else len(query.documents)
        own = scores[start : start + size]
        lists.append(_above_missed(own, len(query.missed)) if query.missed else own)
        grades.append(np.array([*query.grades[:size], *query.missed], dtype=np.float64))
        start += size
    return ranking_metrics(lists, grades, k)


def base_metrics(queries: Iterable[Query], k: int) -> Array | None:
    """The same for the retriever's order; None if no query has one."""
    grades = [np.array(query.base, dtype=np.float64) for query in queries if query.base is not None]
    return ranking_metrics([-np.arange(len(own)) for own in grades], grades, k) if grades else None


def means(table: Array) -> list[float]:
    """The mean of each column."""
    return [float(column.mean()) for column in np.ascontiguousarray(table.T)]


def with_changes(metrics: dict[str, float], base: dict[str, float]) -> dict[str, str]:
    """Figures for the card: reranked, and the difference from the retriever's."""
    return {key: f"{value:.4f} ({value - base[key]:+.4f})" for key, value in metrics.items()}


def log_metrics(log: logging.Logger, metrics: dict[str, float], base: dict[str, float]) -> None:
    """Tells the metrics in percent, beside those of the retriever if there are any."""
    width = max(map(len, metrics)) + 1
    if base:
        log.info(" " * (width + 1) + "Base  -> Reranked")
    for key, value in metrics.items():
        before = f"{base[key] * 100:.2f} -> " if base else ""
        log.info(f"{key.upper()}:".ljust(width) + f" {before}{value * 100:.2f}")


def log_sizes(queries: Sequence[Query]) -> None:
    """Tells how many queries, positives and negatives there are."""
    counts = {"Positives": [q.positives for q in queries], "Negatives": [q.negatives for q in queries]}
    spans = [
        f"{title}: Min {min(own):.1f}, Mean {sum(own) / len(own):.1f}, Max {max(own):.1f}"
        for title, own in counts.items()
    ]
    logger.info("\t".join([f"Queries: {len(queries)}", *spans]))


def _above_missed(scores: Array, missed: int) -> Array:
    """Ranks in place of scores, equal ones staying equal, and below them one rank for each missed document."""
    ranks = np.unique(scores, return_inverse=True)[1].reshape(-1)
    return np.concatenate([ranks, -1 - np.arange(missed)])
