"""The NanoBEIR collection: small retrieval sets, reranked after BM25."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from training.cross_encoder.evaluation.nano_data import read_set
from training.cross_encoder.evaluation.reranking import (
    CrossEncoderRerankingEvaluator,
    log_metrics,
    pairs_of,
    with_changes,
)
from training.cross_encoder.evaluation.scoring import score, write
from training.evaluation.evaluator import BaseEvaluator, prefixed
from training.evaluation.results import moment

logger = logging.getLogger(__name__)
TITLES = {
    title.lower(): title
    for title in (
        *("ClimateFEVER", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO", "NFCorpus", "NQ", "QuoraRetrieval"),
        *("SCIDOCS", "ArguAna", "SciFact", "Touche2020"),
    )
}
ARGUMENTS = ("arguana", "touche2020")
"""Sets of another task, finding counter-arguments: left out unless they are named."""


class CrossEncoderNanoBEIREvaluator(BaseEvaluator):
    """The metrics of `CrossEncoderRerankingEvaluator` on each set and over all, after scoring all sets in one pass.

    The model reorders the best `rerank_k` documents of BM25, and all positives unless `always_rerank_positives` is
    False. `dataset_id` is an id on the Hub or a local directory; `nano_data` describes the layout. Keys:
    `Nano{Set}_R{rerank_k}_{metric}` per set and `NanoBEIR_R{rerank_k}_{aggregate_key}_{metric}` over all, of which
    `ndcg@{at_k}` is primary. Raises ValueError for an unknown set and for data that cannot be read.
    """

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str | os.PathLike[str] = "sentence-transformers/NanoBEIR-en",
        rerank_k: int = 100,
        at_k: int = 10,
        always_rerank_positives: bool = True,
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        aggregate_fn: Callable[[list[float]], Any] = np.mean,
        aggregate_key: str = "mean",
    ) -> None:
        super().__init__()
        self.dataset_names = _known(dataset_names)
        self.dataset_id = os.fspath(dataset_id)
        self.rerank_k = rerank_k
        self.at_k = at_k
        self.always_rerank_positives = always_rerank_positives
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.aggregate_fn = aggregate_fn
        self.aggregate_key = aggregate_key
        self.name = f"NanoBEIR_R{rerank_k}_{aggregate_key}"
        self.csv_file = f"NanoBEIR_evaluation_{aggregate_key}_results.csv"
        self.csv_headers = ["epoch", "steps", "MAP", f"MRR@{at_k}", f"NDCG@{at_k}"]
        self.primary_metric = f"ndcg@{at_k}"
        names = tqdm(self.dataset_names, desc="Loading NanoBEIR datasets", leave=False, disable=not show_progress_bar)
        self.evaluators = [self._evaluator(name) for name in names]

    def __call__(
        self,
        model: Any,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
        *_args: Any,
        **_kwargs: Any,
    ) -> dict[str, float]:
        """Scores the pairs of all sets together and returns the metrics."""
        logger.info(f"NanoBEIR Evaluation of the model on {self.dataset_names} dataset{moment(epoch, steps)}:")
        queries = [evaluator.queries() for evaluator in self.evaluators]
        sizes = [len(pairs_of(own)) for own in queries]
        pairs = [pair for own in queries for pair in pairs_of(own)]
        scores = score(self, model, pairs) if pairs else np.zeros(0)
        parts = np.split(scores, np.cumsum(sizes)[:-1])
        results: dict[str, float] = {}
        columns: dict[str, list[float]] = {}
        for evaluator, own, part in zip(self.evaluators, queries, parts, strict=True):
            found = evaluator.conclude(own, part, model, output_path, epoch, steps)
            results |= found
            for key, value in found.items():
                columns.setdefault(key.removeprefix(f"{evaluator.name}_"), []).append(value)
        totals = {key: self.aggregate_fn(values) for key, values in columns.items()}
        return results | self._conclude(totals, model, output_path, epoch, steps)

    def metric_names(self, model: Any) -> list[str]:
        """Those of every set, and the aggregated ones."""
        names = {one.name: one.metric_names(model) for one in self.evaluators}
        keys = dict.fromkeys(key.removeprefix(f"{name}_") for name, own in names.items() for key in own)
        return [*(key for own in names.values() for key in own), *prefixed(keys, self.name)]

    def get_config_dict(self) -> dict[str, Any]:
        """What was reranked, and how."""
        keys = ("dataset_names", "dataset_id", "rerank_k", "at_k", "always_rerank_positives")
        return {key: getattr(self, key) for key in keys}

    def _evaluator(self, name: str) -> CrossEncoderRerankingEvaluator:
        split = f"Nano{TITLES[name.lower()]}"
        return CrossEncoderRerankingEvaluator(
            read_set(self.dataset_id, split, self.rerank_k),
            at_k=self.at_k,
            always_rerank_positives=self.always_rerank_positives,
            name=f"{split}_R{self.rerank_k}",
            prompt_name=self.prompt_name,
            batch_size=self.batch_size,
            show_progress_bar=self.show_progress_bar,
            write_csv=self.write_csv,
        )

    def _conclude(
        self, totals: dict[str, Any], model: Any, output_path: str | None, epoch: float, steps: int
    ) -> dict[str, float]:
        metrics = {key: value for key, value in totals.items() if not key.startswith("base_")}
        base = {key.removeprefix("base_"): value for key, value in totals.items() if key.startswith("base_")}
        logger.info("CrossEncoderNanoBEIREvaluator: Aggregated Results:")
        log_metrics(logger, metrics, base)
        write(self, output_path, [epoch, steps, *metrics.values()], line_end="\n")
        card = self.prefix_name_to_metrics(with_changes(metrics, base), self.name)
        self.store_metrics_in_model_card_data(model, card, epoch, steps)
        return self.prefix_name_to_metrics(totals, self.name)


def _known(names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [name for name in TITLES if name not in ARGUMENTS]
    if not names:
        raise ValueError("dataset_names is empty; use None to evaluate on all sets")
    if unknown := [name for name in names if name.lower() not in TITLES]:
        raise ValueError(f"{unknown} are no NanoBEIR sets; choose from {list(TITLES)}")
    return list(names)
