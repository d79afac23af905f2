"""Search in a FAISS index: exact (flat), in clusters (ivf) or along a graph of neighbours (hnsw)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from app.errors import ConfigError
from training.errors import DataError
from training.retrieval.collection import Collection
from training.retrieval.dense import QueryEncoder
from training.retrieval.hits import Hits, best_first, no_hits
from training.retrieval.matrix import Rows, pair_products
from training.retrieval.queries import Queries
from training.whole_file import whole_file

if TYPE_CHECKING:
    from training.retrieval.collection import Encode, Matrix

Kind = Literal["flat", "ivf", "hnsw"]
BLOCK = 65536
"""Documents that are added, and queries that are searched for, at a time."""
SEEN_PER_CLUSTER = 64
"""Documents per cluster that its centre is learned from; FAISS warns below 39."""


@dataclass(frozen=True, slots=True)
class FaissOptions:
    """How an index is built and searched.

    `clusters` of an ivf index (0: 4 times the square root of the number of documents, or fewer where a cluster would
    have too few documents to learn from), of which the `nprobe` nearest are searched. `neighbours` of a document in an
    hnsw graph, found among `ef_construction`; a search keeps `ef_search` candidates (or k, if that is more).
    """

    clusters: int = 0
    nprobe: int = 32
    neighbours: int = 32
    ef_construction: int = 200
    ef_search: int = 256


class FaissRetriever:
    """Candidates by dot product from a FAISS index; they are scored as `DenseRetriever` does, to the last bit.

    `corpus` has the shape (documents, dimensions) and should have rows of length 1 for ivf and hnsw. With `path`, the
    index is memory-mapped from there, and built and written there first if there is no such file. An approximate index
    may miss documents, and finds fewer than k where its searched part has no more.

    Raises ConfigError where FAISS is not installed or an option is unknown, DataError for an index file of another
    corpus.
    """

    def __init__(
        self, encode: Encode, corpus: Matrix, kind: Kind = "flat", path: Path | str | None = None, **options: int
    ) -> None:
        self._faiss = _import()
        self._queries, self._corpus = QueryEncoder(encode), Rows(corpus, "corpus")
        self._kind, self._options = _checked(kind, options)
        self._index: Any = self._build() if path is None else self._opened(Path(path))

    @classmethod
    def over(
        cls, collection: Collection, *, kind: Kind = "flat", path: Path | str | None = None, **options: int
    ) -> FaissRetriever:
        """Over a collection with embeddings and an encoder."""
        return cls(collection.need("encode", "faiss"), collection.need("embeddings", "faiss"), kind, path, **options)

    def top(self, queries: Queries, k: int) -> Hits:
        """The k best documents of each query, among those that the index finds."""
        asked = Rows(self._queries(queries), "query")
        if len(asked) and len(self._corpus) and asked.width != self._corpus.width:
            raise DataError(f"query embeddings have {asked.width} dimensions, the index {self._corpus.width}")
        hits = no_hits(len(asked), k)
        for start in range(0, len(asked), BLOCK):
            block = asked.block(start, min(start + BLOCK, len(asked))).cpu().numpy()
            best = self._scored(asked, start, self._search(block, k), k)
            rows = slice(start, start + len(block))
            hits.indices[rows], hits.scores[rows] = best.indices, best.scores
        return hits

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of given pairs: shape (pairs,)."""
        return pair_products(Rows(self._queries(queries), "query"), self._corpus, query_index, document_index)

    def save(self, path: Path | str) -> None:
        """Writes the index in full or not at all."""
        with whole_file(Path(path)) as temporary:
            self._faiss.write_index(self._index, str(temporary))

    def _search(self, block: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        k = min(k, len(self._corpus))
        if k == 0:
            return np.full((len(block), 0), -1, dtype=np.int64)
        given: dict[str, Any] = {}
        if self._kind == "ivf":
            given["params"] = self._faiss.SearchParametersIVF(nprobe=self._options.nprobe)
        if self._kind == "hnsw":
            given["params"] = self._faiss.SearchParametersHNSW(efSearch=max(k, self._options.ef_search))
        _, found = self._index.search(block, k, **given)
        return np.asarray(found, dtype=np.int64)

    def _scored(self, asked: Rows, start: int, found: NDArray[np.int64], k: int) -> Hits:
        row, column = np.nonzero(found >= 0)
        scores = np.full(found.shape, -np.inf, dtype=np.float32)
        scores[row, column] = pair_products(asked, self._corpus, row + start, found[row, column])
        return best_first(found, scores, k)

    def _opened(self, path: Path) -> Any:
        if not path.exists():
            self._index = self._build()
            self.save(path)
        # each of the flags maps the one and is refused or ignored by the others
        flag = self._faiss.IO_FLAG_MMAP if self._kind == "ivf" else self._faiss.IO_FLAG_MMAP_IFC
        try:
            index = self._faiss.read_index(str(path), flag)
        except RuntimeError as error:
            raise DataError(
                f"{path}: is no FAISS index that can be read; delete it, so that it is built again"
            ) from error
        wanted = (_CLASSES[self._kind], len(self._corpus), self._corpus.width)
        held = (type(index).__name__, int(index.ntotal), int(index.d))
        if held != wanted:
            raise DataError(
                f"{path}: holds {held[0]} of {held[1]} documents with {held[2]} dimensions, but {wanted[0]} of "
                f"{wanted[1]} with {wanted[2]} is needed; delete it, so that it is built again"
            )
        return index

    def _build(self) -> Any:
        index = _BUILDERS[self._kind](self._faiss, self._corpus, self._options)
        for start in range(0, len(self._corpus), BLOCK):
            index.add(self._corpus.block(start, min(start + BLOCK, len(self._corpus))).cpu().numpy())
        return index


def _import() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ConfigError(
            "retriever 'faiss' needs FAISS, which is not installed: pip install 'crossrank[faiss]'"
        ) from error
    return faiss


def _checked(kind: str, options: dict[str, int]) -> tuple[Kind, FaissOptions]:
    if kind not in get_args(Kind):
        raise ConfigError(f"faiss: kind {kind!r} is unknown; choose one of {', '.join(get_args(Kind))}")
    unknown = set(options) - set(FaissOptions.__dataclass_fields__)
    if unknown:
        known = ", ".join(FaissOptions.__dataclass_fields__)
        raise ConfigError(f"faiss: option {min(unknown)!r} is unknown; the options are {known}")
    return kind, FaissOptions(**options)  # type: ignore[return-value]  # it is one of them


def _flat(faiss: Any, corpus: Rows, options: FaissOptions) -> Any:
    return faiss.IndexFlatIP(corpus.width)


def _ivf(faiss: Any, corpus: Rows, options: FaissOptions) -> Any:
    usual = int(min(4 * np.sqrt(len(corpus)), len(corpus) / SEEN_PER_CLUSTER))
    clusters = options.clusters or max(1, usual)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(corpus.width), corpus.width, clusters, faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).permutation(len(corpus))[: SEEN_PER_CLUSTER * clusters]
    index.train(corpus.take(np.sort(sample)))
    return index


def _hnsw(faiss: Any, corpus: Rows, options: FaissOptions) -> Any:
    index = faiss.IndexHNSWFlat(corpus.width, options.neighbours, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = options.ef_construction
    return index


_BUILDERS: dict[Kind, Callable[[Any, Rows, FaissOptions], Any]] = {"flat": _flat, "ivf": _ivf, "hnsw": _hnsw}
_CLASSES: dict[Kind, str] = {"flat": "IndexFlatIP", "ivf": "IndexIVFFlat", "hnsw": "IndexHNSWFlat"}
