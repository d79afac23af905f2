"""Registry of retrievers. A retriever is one file here plus one line in `RETRIEVERS`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from app.errors import ConfigError
from training.retrieval.collection import Collection
from training.retrieval.hits import Hits
from training.retrieval.queries import Queries


class Retriever(Protocol):
    """Finds documents, which are addressed by their position in the corpus."""

    def top(self, queries: Queries, k: int) -> Hits:
        """The k best documents of each query."""
        ...

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of given (query, document) pairs on the scale of `top`: shape (pairs,); NaN where unknown."""
        ...


class RetrieverClass(Protocol):
    """What a registry line must lead to."""

    def over(self, collection: Collection, **options: Any) -> Retriever:
        """A retriever over these documents. Raises ConfigError or DataError."""
        ...


RETRIEVERS = {
    "bm25": "training.retrieval.bm25:Bm25Retriever",
    "dense": "training.retrieval.dense:DenseRetriever",
    "faiss": "training.retrieval.faiss_index:FaissRetriever",
    "run": "training.retrieval.run_file:RunRetriever",
}


def build_retriever(name: str, collection: Collection, **options: Any) -> Retriever:
    """The retriever registered under `name` over a collection; `options` are those of its constructor.

    Raises ConfigError for an unknown name, or what the retriever raises.
    """
    if name not in RETRIEVERS:
        raise ConfigError(f"retriever {name!r} is unknown; choose one of {', '.join(RETRIEVERS)}")
    module, _, attribute = RETRIEVERS[name].partition(":")
    return cast(RetrieverClass, getattr(import_module(module), attribute)).over(collection, **options)
