"""Embeddings to search in, and the answer by the plainest way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.retrieval.hits import Hits


def unit(rows: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Random rows of length 1."""
    found = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def brute_force(queries: NDArray[Any], corpus: NDArray[Any], k: int, cosine: bool = False) -> Hits:
    """All scores in float64, rounded, sorted stably, padded."""
    first, second = queries.astype(np.float64), corpus.astype(np.float64)
    scores = np.einsum("qd,nd->qn", first, second)
    if cosine:
        lengths = [np.maximum(np.sqrt((side**2).sum(1)), 1e-12) for side in (first, second)]
        scores /= lengths[0][:, None] * lengths[1]
    rounded = scores.astype(np.float32)
    order = np.argsort(-rounded, axis=1, kind="stable")[:, :k]
    pad = ((0, 0), (0, k - order.shape[1]))
    best = np.take_along_axis(rounded, order, 1)
    return Hits(np.pad(order, pad, constant_values=-1), np.pad(best, pad, constant_values=-np.inf))


def same(first: Hits, second: Hits) -> bool:
    """Whether indices and scores agree to the last bit."""
    return np.array_equal(first.indices, second.indices) and np.array_equal(first.scores, second.scores)
