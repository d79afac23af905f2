"""Nearest neighbours among embeddings."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from training.retrieval.exact import exact_top_k
from training.retrieval.hits import Hits
from training.util.similarity import Similarity, cos_sim, dot_score
from training.util.tensor import Embeddings, rows


class Found(TypedDict):
    """A row of the corpus, and its score."""

    corpus_id: int
    score: float


def semantic_search(
    query_embeddings: Embeddings,
    corpus_embeddings: Embeddings,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500000,
    top_k: int = 10,
    score_function: Similarity = cos_sim,
) -> list[list[Found]]:
    """The `top_k` rows of the corpus with the highest scores for each query, best first, equal ones by `corpus_id`.

    Embeddings are tensors (dense or sparse), arrays or lists of shape (rows, dimensions); one embedding counts as a
    batch of one. The chunk sizes bound the memory, and change no score: `score_function` compares that many rows at a
    time; cosine and dot product of dense float32 are bounded without them. The search runs on the corpus's device.

    Raises ValueError where `top_k` or a chunk size is below 1.
    """
    for name, value in (
        ("query_chunk_size", query_chunk_size),
        ("corpus_chunk_size", corpus_chunk_size),
        ("top_k", top_k),
    ):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    corpus = rows(corpus_embeddings).detach()
    queries = rows(query_embeddings).detach().to(corpus.device)
    if not len(queries) or not len(corpus):
        return [[] for _ in range(len(queries))]
    k = min(top_k, len(corpus))
    if score_function in (cos_sim, dot_score) and _dense(queries) and _dense(corpus):
        return _as_lists(exact_top_k(queries, corpus, k, cosine=score_function is cos_sim))
    found = []
    for start in range(0, len(queries), query_chunk_size):
        part = _part(queries, start, query_chunk_size)
        found += _search(part, corpus, corpus_chunk_size, k, score_function)
    return found


def _search(queries: Tensor, corpus: Tensor, chunk: int, k: int, score_function: Similarity) -> list[list[Found]]:
    """By any function, for a few queries: keeps the best while the corpus is read in chunks."""
    best = torch.empty(len(queries), 0, device=corpus.device)
    where = torch.empty(len(queries), 0, dtype=torch.int64, device=corpus.device)
    for start in range(0, len(corpus), chunk):
        part = _part(corpus, start, chunk)
        scores = score_function(queries, part).detach()
        index = torch.arange(start, start + scores.shape[1], device=corpus.device).expand_as(scores)
        joined, indices = torch.cat([best.to(scores.dtype), scores], dim=1), torch.cat([where, index], dim=1)
        order = torch.sort(joined, dim=1, descending=True, stable=True).indices[:, :k]
        best, where = joined.gather(1, order), indices.gather(1, order)
    return _as_lists(Hits(where.cpu().numpy(), best.cpu().numpy()))


def _part(matrix: Tensor, start: int, length: int) -> Tensor:
    if not matrix.is_sparse:
        return matrix[start : start + length]
    indices = torch.arange(start, min(start + length, len(matrix)), device=matrix.device)
    return matrix.index_select(0, indices)


def _dense(matrix: Tensor) -> bool:
    return matrix.dtype == torch.float32 and not matrix.is_sparse


def _as_lists(hits: Hits) -> list[list[Found]]:
    return [
        [{"corpus_id": index, "score": score} for index, score in zip(*row, strict=True)]
        for row in zip(hits.indices.tolist(), np.asarray(hits.scores).tolist(), strict=True)
    ]
