"""Evaluation during training."""

from __future__ import annotations

from statistics import fmean

from training.candidates import Task, load_task
from training.cross_encoder.evaluation.reranking import CrossEncoderRerankingEvaluator
from training.evaluation.sequential import SequentialEvaluator
from training.recipe import Recipe


def evaluator_of(recipe: Recipe) -> SequentialEvaluator | None:
    """One evaluator of all sets with `during = true`, whose main figure is their mean nDCG@10; None without sets.

    Raises DataError.
    """
    tasks = [load_task(options, recipe.data_root, recipe.seed) for options in recipe.watched]
    if not tasks:
        return None
    return SequentialEvaluator([reranking(task) for task in tasks], main_score_function=fmean)


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
