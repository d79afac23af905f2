"""Embedding matrices wherever they lie: in arrays, in memory-mapped files, in tensors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.errors import DataError

if TYPE_CHECKING:
    from training.retrieval.collection import Matrix

PAIR_NUMBERS, DEVICE_PAIR_NUMBERS = 1 << 16, 1 << 20
"""Numbers of each side that are multiplied at a time: 0.5 MB in float64, which caches hold; of tensors more, as each
call costs."""
SAFE = 1e-15
"""Squares of longer rows do not vanish in float32, and squares of rows shorter than its inverse do not overflow."""
SHORTEST = 1e-12
"""Rows are divided by at least this, so that zeros stay zeros (as torch.nn.functional.normalize does)."""


class Rows:
    """Reads the rows of a matrix as float32, a block at a time, so that a file on disk never has to fit in memory."""

    def __init__(self, matrix: Matrix, name: str) -> None:
        if matrix.ndim != 2:
            raise DataError(f"{name} embeddings have the shape {tuple(matrix.shape)}; give one row per text")
        self._matrix: Any = _as_array(matrix.detach()) if isinstance(matrix, Tensor) else matrix
        self.name = name

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def width(self) -> int:
        """Dimensions of a row."""
        return int(self._matrix.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the matrix lies."""
        return self._matrix.device if isinstance(self._matrix, Tensor) else torch.device("cpu")

    @property
    def is_array(self) -> bool:
        """Whether NumPy reads the rows, from memory or a file."""
        return not isinstance(self._matrix, Tensor)

    def block(self, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop`, on `device`; not to be written to, as they may be those of the matrix itself."""
        part = self._matrix[start:stop]
        if isinstance(part, Tensor):
            return part.float()
        if part.dtype == np.float32 and part.flags.c_contiguous and part.flags.writeable:
            return torch.from_numpy(np.asarray(part))
        return torch.from_numpy(np.array(part, dtype=np.float32))

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows at `indices`, in memory."""
        if isinstance(self._matrix, Tensor):
            part = self._matrix[torch.from_numpy(indices).to(self._matrix.device)]
            return np.asarray(part.float().cpu().numpy())
        return np.asarray(self._matrix[indices], dtype=np.float32)

    def lengths(self, block: Tensor, start: int) -> Tensor:
        """Euclidean lengths of the rows of a block that begins at `start`.

        Raises DataError naming the first row that holds NaN or infinity.
        """
        lengths: Tensor = torch.linalg.vector_norm(block, dim=1)
        if bool(((lengths > SAFE) & (lengths < 1 / SAFE)).all()):
            return lengths
        lengths = torch.linalg.vector_norm(block, dim=1, dtype=torch.float64)
        finite = torch.isfinite(lengths)
        if not bool(finite.all()):
            row = start + int(torch.argmin(finite.int()))
            raise DataError(f"{self.name} embedding {row} holds NaN or infinity; encode its text again")
        return lengths


def pair_products(
    queries: Rows,
    corpus: Rows,
    query_index: NDArray[np.int64],
    document_index: NDArray[np.int64],
    cosine: bool = False,
) -> NDArray[np.float32]:
    """Dot products (or cosines) of given rows, summed in float64 and rounded once: shape (pairs,).

    A pair has the same score to the last bit whatever else is asked with it.
    """
    scores = np.empty(len(query_index), dtype=np.float32)
    arrays = queries.is_array and corpus.is_array
    step = max(1, (PAIR_NUMBERS if arrays else DEVICE_PAIR_NUMBERS) // max(1, corpus.width))

    def score(places: NDArray[np.int64]) -> None:
        for start in range(0, len(places), step):
            pairs = places[start : start + step]
            first = queries.take(query_index[pairs]).astype(np.float64)
            second = corpus.take(document_index[pairs]).astype(np.float64)
            products = np.einsum("pd,pd->p", first, second)
            if cosine:
                products /= _lengths(first) * _lengths(second)
            scores[pairs] = products

    order = np.argsort(document_index, kind="stable")  # a file is read from front to back
    threads = min(torch.get_num_threads(), len(order) // step) if arrays else 1
    if threads < 2:
        score(order)
        return scores
    with ThreadPoolExecutor(threads) as pool:  # NumPy lets go of the GIL
        list(pool.map(score, np.array_split(order, threads)))
    return scores


def _as_array(matrix: Tensor) -> Any:
    """The same numbers as an array where there is a view: NumPy takes rows with one thread, and needs no other."""
    known = (torch.float16, torch.float32, torch.float64)
    return matrix.numpy() if matrix.device.type == "cpu" and matrix.dtype in known else matrix


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(np.sqrt(np.einsum("pd,pd->p", rows, rows)), SHORTEST))
