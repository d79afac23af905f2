"""The retrieval that a reranker comes after, as recipes and the command line name it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ConfigError
from training.data.beir import read_pool
from training.data.lines import find, read_lines
from training.errors import DataError
from training.mining.similarity import SimilarityRetriever, needs_own_similarity
from training.retrieval import Retriever, build_retriever
from training.retrieval.collection import Collection
from training.retrieval.dense import QueryEncoder
from training.retrieval.hits import Hits
from training.retrieval.queries import Queries

BM25 = "bm25"
DENSE = "dense"
RUN = "run"
POOL_HEADER = "query-id\tcorpus-id"


@dataclass(frozen=True, slots=True)
class Found:
    """Document ids of each query, best first, with their falling scores. Queries that a run lacks are left out."""

    documents: dict[str, list[str]]
    scores: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class FirstStage:
    """A first stage as it is written: "bm25", "dense:MODEL" or a file. `kind` is bm25, dense or run."""

    kind: str
    argument: str

    @classmethod
    def parse(cls, text: str) -> FirstStage:
        """Raises ConfigError where a model is missing."""
        kind, _, model = text.partition(":")
        if kind == DENSE:
            if not model:
                raise ConfigError(f"first stage {text!r}: name the encoder too, as in dense:sentence-transformers/NAME")
            return cls(DENSE, model)
        return cls(BM25, "") if text == BM25 else cls(RUN, text)


def retriever_of(stage: FirstStage, corpus: Mapping[str, str], directory: Path) -> Retriever:
    """A retriever over the texts of `corpus`, addressed by their position; files are looked for in `directory` too.

    Raises ConfigError, ArtifactError or DataError.
    """
    collection = Collection(texts=list(corpus.values()), ids=list(corpus))
    if stage.kind == BM25:
        return build_retriever(BM25, collection)
    if stage.kind == DENSE:
        return _dense(stage.argument, collection)
    return build_retriever(RUN, collection, path=run_file(stage.argument, directory))


def retrieve(retriever: Retriever, corpus: Mapping[str, str], queries: Mapping[str, str], depth: int) -> Found:
    """The best `depth` documents of each query."""
    ids = list(corpus)
    hits = retriever.top(Queries(list(queries.values()), list(queries)), min(depth, len(ids)))
    documents, scores = {}, {}
    for key, indices, own in zip(queries, hits.indices, hits.scores, strict=True):
        documents[key] = [ids[i] for i in indices[indices >= 0]]
        scores[key] = own[indices >= 0]
    return Found(documents, scores)


def run_file(name: str, directory: Path) -> Path:
    """The file itself, or the one of that name in the corpus directory. Raises DataError naming both."""
    for path in (Path(name), directory / name):
        if path.is_file():
            return path
        if path.with_name(f"{path.name}.gz").is_file():
            return path.with_name(f"{path.name}.gz")
    raise DataError(
        f"first stage {name!r}: no such file, nor {directory / name}; give bm25, dense:MODEL or the path of a run"
    )


def is_pool(path: Path) -> bool:
    """Whether a file of candidates is a pool (tab-separated, with a heading) and no run in TREC's format."""
    _, line = next(read_lines(find(path)), (0, ""))
    return line.lower().startswith(POOL_HEADER)


def from_pool(path: Path) -> Found:
    """A pool's candidates in the order of their ranks."""
    pool = read_pool(path)
    return Found(pool, {key: -np.arange(1, len(names) + 1, dtype=np.float32) for key, names in pool.items()})


def _dense(model: str, collection: Collection) -> Retriever:
    """Exact search by the model's own similarity, with its prompts for queries and documents."""
    from training.parent import resolve_parent
    from training.sentence_transformer import SentenceTransformer

    try:
        encoder = SentenceTransformer(resolve_parent(model) if model.isidentifier() else model)
    except (OSError, ValueError) as error:
        raise ConfigError(f"first stage {DENSE}:{model}: cannot be loaded ({error}); check the model's name") from error

    def queries(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(encoder.encode_query(list(texts), show_progress_bar=False), dtype=np.float32)

    documents = encoder.encode_document(list(collection.need("texts", DENSE)), show_progress_bar=True)
    vectors = np.asarray(documents, dtype=np.float32)
    if needs_own_similarity(encoder):
        return _BySimilarity(QueryEncoder(queries), vectors, encoder)
    embedded = Collection(collection.texts, collection.ids, vectors, queries)
    return build_retriever(DENSE, embedded, cosine=encoder.similarity_fn_name != "dot")


@dataclass(frozen=True, eq=False)
class _BySimilarity:
    """Search by a similarity of `model` that is no product of embeddings, as Euclidean distance is none."""

    encode: QueryEncoder
    documents: NDArray[np.float32]
    model: Any

    def top(self, queries: Queries, k: int) -> Hits:
        return self._over(queries).top(queries, k)

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        return self._over(queries).pair_scores(queries, query_index, document_index)

    def _over(self, queries: Queries) -> SimilarityRetriever:
        asked = np.asarray(self.encode(queries))
        return SimilarityRetriever(asked, self.documents, self.model.similarity, self.model.similarity_pairwise)
