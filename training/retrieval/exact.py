"""Exact search: every query against every document, a tile of the score matrix at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.errors import DataError
from training.retrieval.hits import Hits, no_hits
from training.retrieval.matrix import SHORTEST, Rows, pair_products
from training.retrieval.shortlist import Shortlist, capacity_for

if TYPE_CHECKING:
    from training.retrieval.collection import Matrix

STATE_BYTES = 128 * 2**20
"""Candidates that are held at a time; the corpus is read once for as many queries as that allows."""
ROUNDING = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}
"""Relative error of the factors under torch.set_float32_matmul_precision: none, TensorFloat-32, bfloat16."""


class Tile(NamedTuple):
    """The part of the score matrix that is computed at a time."""

    queries: int = 1024
    documents: int = 8192


DEFAULT, ON_ACCELERATOR = Tile(), Tile(4096, 65536)


@torch.inference_mode()
def exact_top_k(
    queries: Matrix,
    corpus: Matrix,
    k: int,
    *,
    device: torch.device | str | None = None,
    cosine: bool = False,
    tile: tuple[int, int] | None = None,
    progress: bool = False,
) -> Hits:
    """The k rows of `corpus` with the largest dot product (with `cosine`: cosine) for each row of `queries`.

    Scores are float64 sums rounded to float32, and equal ones are in the order of their indices, whatever `tile`
    (queries, documents) and `device` are. Matrices have shape (rows, dimensions) and stay where they are: a
    memory-mapped file is read a block at a time, and memory beside the matrices and the hits is bounded by the tile
    and `STATE_BYTES`. `device` is that of the corpus unless given.

    Raises DataError for matrices that do not fit together and for rows that are not finite.
    """
    asked, searched = Rows(queries, "query"), Rows(corpus, "corpus")
    if len(asked) and len(searched) and asked.width != searched.width:
        raise DataError(
            f"query embeddings have {asked.width} dimensions, those of the corpus {searched.width}; use one model"
        )
    if k < 1:
        raise DataError(f"k is {k}; ask for at least 1 document")
    target = torch.device(searched.device if device is None else device)
    size = Tile(*tile) if tile else DEFAULT if target.type == "cpu" else ON_ACCELERATOR
    return _Search(asked, searched, min(k, max(1, len(searched))), target, cosine, size).run(k, progress)


class _Search(NamedTuple):
    queries: Rows
    corpus: Rows
    k: int
    device: torch.device
    cosine: bool
    tile: Tile

    def run(self, width: int, progress: bool) -> Hits:
        hits = no_hits(len(self.queries), width)
        step = max(self.tile.queries, STATE_BYTES // (12 * capacity_for(self.k)))
        with tqdm(
            total=len(self.queries) * len(self.corpus), unit="pair", unit_scale=True, disable=not progress
        ) as bar:
            for start in range(0, len(self.queries), step):
                self._search(start, min(start + step, len(self.queries)), hits, bar)
        return hits

    def _search(self, start: int, stop: int, hits: Hits, bar: tqdm[Never]) -> None:
        """One pass over the corpus for queries `start` to `stop`."""
        block, lengths = self._read(self.queries, start, stop)
        shortlist = Shortlist(stop - start, self.k, lambda row, index: self._pairs(row + start, index))
        scratch = _Scratch(self.tile, self.device)
        for first in range(0, len(self.corpus), self.tile.documents):
            documents, longest = self._read(self.corpus, first, min(first + self.tile.documents, len(self.corpus)))
            error = (lengths * longest.max() * self._relative_error()).cpu().numpy().astype(np.float32)
            for top in range(0, stop - start, self.tile.queries):
                rows = slice(top, min(top + self.tile.queries, stop - start))
                self._tile(block[rows], documents, first, shortlist, rows, error[rows], scratch)
            bar.update((stop - start) * len(documents))
        for top in range(0, stop - start, self.tile.queries):
            best = shortlist.finish(top, min(top + self.tile.queries, stop - start))
            rows = slice(start + top, start + top + len(best.indices))
            hits.indices[rows, : self.k], hits.scores[rows, : self.k] = best.indices, best.scores

    def _tile(
        self,
        queries: Tensor,
        documents: Tensor,
        first: int,
        shortlist: Shortlist,
        rows: slice,
        error: NDArray[np.float32],
        scratch: _Scratch,
    ) -> None:
        scores = scratch.products(queries, documents)
        cut = shortlist.cut(rows, error)
        if first == 0 and len(documents) >= self.k:  # without a floor every document would be a candidate
            kth = torch.topk(scores, self.k, dim=1, sorted=True).values[:, -1]
            shortlist.raise_floor(rows, kth.cpu().numpy())
            cut = shortlist.cut(rows, error)
        row, column, score = scratch.above(scores, torch.from_numpy(cut).to(self.device))
        if len(row):
            shortlist.add(row + rows.start, column + first, score)

    def _read(self, matrix: Rows, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows and their lengths, on the device."""
        block = matrix.block(start, stop).to(self.device)
        lengths = matrix.lengths(block, start)
        if not self.cosine:
            return block, lengths
        return block / lengths.float().clamp_min(SHORTEST)[:, None], lengths.clamp_max(1.0).ceil()  # 0 or 1

    def _pairs(self, query_index: NDArray[np.int64], document_index: NDArray[np.int64]) -> NDArray[np.float32]:
        return pair_products(self.queries, self.corpus, query_index, document_index, self.cosine)

    def _relative_error(self) -> float:
        """Bound on the error of a float32 product, as a share of |query| |document| (Higham 2002, section 3.1).

        Twice the summands and 16 more pay for rounding of the lengths and of the bounds themselves.
        """
        summands = (2 * self.queries.width + 16) * 2.0**-24
        return 1.01 * (summands + 2 * ROUNDING[torch.get_float32_matmul_precision()])


class _Scratch:
    """One tile of scores and of comparisons, allocated once: fresh pages would cost more than the comparison."""

    def __init__(self, tile: Tile, device: torch.device) -> None:
        self._scores = torch.empty(0, device=device)
        self._above = torch.empty(0, dtype=torch.bool, device=device)

    def products(self, queries: Tensor, documents: Tensor) -> Tensor:
        """Scores of shape (queries, documents), valid until the next call."""
        shape = (len(queries), len(documents))
        if self._scores.shape != shape:
            self._scores = torch.empty(shape, device=queries.device)
            self._above = torch.empty(shape, dtype=torch.bool, device=queries.device)
        return torch.mm(queries, documents.T, out=self._scores)

    def above(self, scores: Tensor, cut: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Row, column and score of those above the cut of their row, row by row."""
        mask = torch.gt(scores, cut[:, None], out=self._above).view(-1)
        if mask.device.type == "cpu":  # NumPy skips runs of False eight at a time
            flat = np.flatnonzero(mask.numpy())
            score = scores.numpy().reshape(-1)[flat]
        else:
            where = torch.nonzero(mask).view(-1)
            flat, score = where.cpu().numpy(), scores.view(-1)[where].cpu().numpy()
        row, column = np.divmod(flat, scores.shape[1])
        return row, column, score
