"""Scores by a model's own similarity, where that is no product of the embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from app.model.types import FloatArray
from training.mining.positives import IndexArray
from training.retrieval.hits import Hits, best_first, no_hits

if TYPE_CHECKING:
    from training.retrieval import Retriever
    from training.retrieval.queries import Queries

QUERY_ROWS = 1024
CORPUS_ROWS = 16384
PAIRS = 1 << 16
"""Rows and pairs that are compared at once: bounds the memory."""
PRODUCTS = ("cosine", "dot")
"""Similarities of normalised embeddings that a product gives."""


@dataclass(frozen=True, eq=False)
class SimilarityRetriever:
    """Ranks by any similarity of embeddings: `between` all rows of two arrays, `pairwise` row by row.

    With an `index`, the candidates are those that it finds, scored by this similarity.
    """

    queries: FloatArray
    corpus: FloatArray
    between: Callable[[Any, Any], Any]
    pairwise: Callable[[Any, Any], Any]
    index: Retriever | None = None

    def top(self, queries: Queries, k: int) -> Hits:
        """The k most similar documents of each query."""
        if self.index is None:
            blocks = [self._best(start, k) for start in range(0, len(self.queries), QUERY_ROWS)]
            return Hits(np.vstack([hits.indices for hits in blocks]), np.vstack([hits.scores for hits in blocks]))
        indices = self.index.top(queries, k).indices
        scores = no_hits(*indices.shape).scores
        rows, columns = np.nonzero(indices >= 0)
        scores[rows, columns] = self.pair_scores(queries, rows, indices[rows, columns])
        return best_first(indices, scores, k)

    def pair_scores(self, queries: Queries, query_index: IndexArray, document_index: IndexArray) -> FloatArray:
        """The similarity of each pair: shape (pairs,)."""
        out = np.empty(len(query_index), dtype=np.float32)
        for start in range(0, len(out), PAIRS):
            part = slice(start, start + PAIRS)
            rows = self.queries[query_index[part]], self.corpus[document_index[part]]
            out[part] = _array(self.pairwise(*(torch.from_numpy(values) for values in rows)))
        return out

    def _best(self, start: int, k: int) -> Hits:
        block = torch.from_numpy(np.array(self.queries[start : start + QUERY_ROWS]))
        best = no_hits(len(block), k)
        for first in range(0, len(self.corpus), CORPUS_ROWS):
            tile = torch.from_numpy(np.array(self.corpus[first : first + CORPUS_ROWS]))
            scores = _array(self.between(block, tile))
            indices = np.broadcast_to(np.arange(first, first + len(tile)), scores.shape)
            merged = np.hstack([best.indices, indices]), np.hstack([best.scores, scores])
            best = best_first(*merged, k)
        return best


def needs_own_similarity(model: Any) -> bool:
    """Whether the model compares embeddings by something else than cosine or dot product."""
    name = getattr(model, "similarity_fn_name", None)
    return name is not None and getattr(name, "value", name) not in PRODUCTS


def _array(scores: Any) -> FloatArray:
    return np.asarray(torch.as_tensor(scores).float().cpu().numpy(), dtype=np.float32)
