"""What an evaluation reranks: per query the candidate documents, in BM25's order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.bm25 import Bm25
from training.data.beir import Qrels, Retrieval, read_pool, read_retrieval
from training.metrics import ranking
from training.recipe import EvaluationSet

LEXICAL = "_bm25.tsv"
"""Ending of pools that are BM25 runs already; other pools are put into BM25's order first."""


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation set, ready to score. `candidates` holds document ids per query, BM25's best first."""

    name: str
    corpus: dict[str, str]
    queries: dict[str, str]
    candidates: dict[str, list[str]]
    qrels: Qrels

    def pairs(self) -> list[tuple[str, str]]:
        """(query, document) texts of all candidates, query after query."""
        return [
            (self.queries[query_id], self.corpus[document_id])
            for query_id, document_ids in self.candidates.items()
            for document_id in document_ids
        ]


def load_task(options: EvaluationSet, root: Path, seed: int) -> Task:
    """The queries that have a relevant document, at most `options.limit` of them, with their candidates.

    Raises DataError.
    """
    data = read_retrieval(root / options.path, options.split)
    answerable = [key for key in data.qrels if data.relevant(key)]
    if options.pool is None:
        candidates = _retrieve(data, _sample(answerable, options.limit, seed), options.depth)
    else:
        pool = read_pool(root / options.path / options.pool)
        query_ids = _sample([key for key in answerable if key in pool], options.limit, seed)
        candidates = {key: pool[key][: options.depth] for key in query_ids}
        if LEXICAL not in options.pool.name:
            candidates = _lexical_order(data, candidates)
    queries = {key: data.queries[key] for key in candidates}
    return Task(options.name, data.corpus, queries, candidates, {key: data.qrels[key] for key in candidates})


def _sample(query_ids: list[str], limit: int | None, seed: int) -> list[str]:
    if limit is None or limit >= len(query_ids):
        return query_ids
    chosen = np.random.default_rng(seed).choice(len(query_ids), limit, replace=False)
    return [query_ids[i] for i in sorted(chosen)]


def _retrieve(data: Retrieval, query_ids: list[str], depth: int) -> dict[str, list[str]]:
    document_ids = list(data.corpus)
    found = Bm25(list(data.corpus.values())).top([data.queries[key] for key in query_ids], depth)
    return {key: [document_ids[i] for i in row] for key, row in zip(query_ids, found, strict=True)}


def _lexical_order(data: Retrieval, candidates: dict[str, list[str]]) -> dict[str, list[str]]:
    index, position = Bm25(list(data.corpus.values())), {key: i for i, key in enumerate(data.corpus)}
    ordered = {}
    for query_id, document_ids in candidates.items():
        scores = index.scores(data.queries[query_id])[[position[key] for key in document_ids]]
        ordered[query_id] = [document_ids[i] for i in ranking(scores)]
    return ordered
