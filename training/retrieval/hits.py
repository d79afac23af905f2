"""What a retriever finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Hits(NamedTuple):
    """The best documents of each query, best first, equal scores in the order of their indices.

    Both arrays have the shape (queries, k). Where a query has fewer than k documents the index is -1 and the score
    -inf.
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


def no_hits(queries: int, k: int) -> Hits:
    """Hits without a document, to be filled."""
    return Hits(np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), -np.inf, dtype=np.float32))


def best_first(indices: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """The k best of the candidates in each row, which may be padded with (-1, -inf) and stand in any order."""
    found = no_hits(len(indices), k)
    order = np.lexsort((indices, -scores), axis=1)[:, :k]
    found.indices[:, : order.shape[1]] = np.take_along_axis(indices, order, 1)
    found.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, 1)
    return found
