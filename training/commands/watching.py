"""Evaluation during training."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from training.candidates import Task, load_task
from training.commands.sources import holds_table
from training.commands.watched_tables import class_pairs, ranked_lists, scored_pairs
from training.cross_encoder.evaluation.classification import CrossEncoderClassificationEvaluator
from training.cross_encoder.evaluation.correlation import CrossEncoderCorrelationEvaluator
from training.cross_encoder.evaluation.reranking import CrossEncoderRerankingEvaluator
from training.errors import DataError
from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.sequential import SequentialEvaluator
from training.recipe import EvaluationSet, Recipe


def evaluator_of(recipe: Recipe) -> SequentialEvaluator | None:
    """One evaluator of all sets with `during = true`, whose own figure is the mean of their main ones; None without.

    Raises DataError.
    """
    evaluators = [EVALUATORS[options.kind](options, recipe) for options in recipe.watched]
    return SequentialEvaluator(evaluators, main_score_function=fmean) if evaluators else None


def reranking(task: Task) -> CrossEncoderRerankingEvaluator:
    """The candidates of each query, reranked; relevant documents that are no candidates count as missed."""
    samples = [
        {
            "query": task.queries[query_id],
            "positive": {task.corpus[key]: grade for key, grade in task.qrels[query_id].items() if grade > 0},
            "documents": [task.corpus[key] for key in document_ids],
        }
        for query_id, document_ids in task.candidates.items()
    ]
    return CrossEncoderRerankingEvaluator(samples, name=task.name, always_rerank_positives=False)


def _reranking(options: EvaluationSet, recipe: Recipe) -> BaseEvaluator:
    if (recipe.data_root / options.path).is_dir() and not holds_table(options, recipe.data_root):
        return reranking(load_task(options, recipe.data_root, recipe.seed))
    samples = ranked_lists(options, recipe.data_root, recipe.seed)
    try:
        return CrossEncoderRerankingEvaluator(samples, name=options.name, always_rerank_positives=False)
    except ValueError as error:
        raise DataError(f"evaluation {options.name!r}, {error}") from error


def _classification(options: EvaluationSet, recipe: Recipe) -> BaseEvaluator:
    classes = max(2, recipe.num_labels)
    pairs, labels = class_pairs(options, recipe.data_root, recipe.seed, classes)
    return CrossEncoderClassificationEvaluator(pairs, labels, name=options.name, show_progress_bar=False)


def _correlation(options: EvaluationSet, recipe: Recipe) -> BaseEvaluator:
    pairs, scores = scored_pairs(options, recipe.data_root, recipe.seed)
    return CrossEncoderCorrelationEvaluator(pairs, scores, name=options.name, show_progress_bar=False)


EVALUATORS: dict[str, Callable[[EvaluationSet, Recipe], BaseEvaluator]] = {
    "reranking": _reranking,
    "classification": _classification,
    "correlation": _correlation,
}
