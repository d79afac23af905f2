"""Embeddings searched by their texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import ConfigError
from tests.unit.training.retrieval.vectors import brute_force, same, unit
from training.errors import DataError
from training.retrieval import RETRIEVERS, Retriever, build_retriever
from training.retrieval.collection import Collection
from training.retrieval.dense import DenseRetriever
from training.retrieval.queries import Queries

QUERIES, CORPUS = unit(6, 12), unit(90, 12, 1) * np.float32(3)
ASKED = Queries([str(i) for i in range(6)])


class Encoder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        return QUERIES[[int(text) for text in texts]]


@pytest.mark.parametrize("cosine", [False, True])
def test_pairs_score_what_top_says_to_the_last_bit(cosine: bool) -> None:
    encode = Encoder()
    retriever = DenseRetriever(encode, CORPUS, cosine=cosine, tile=(2, 7))
    hits = retriever.top(ASKED, 90)
    assert same(hits, brute_force(QUERIES, CORPUS, 90, cosine))
    rows = np.repeat(np.arange(6), 90)
    assert np.array_equal(retriever.pair_scores(ASKED, rows, hits.indices.ravel()), hits.scores.ravel())
    assert encode.calls == 1, "the same queries are encoded once"
    assert retriever.top(Queries(["3"]), 2).indices.tolist() == hits.indices[3:4, :2].tolist()


def test_retrievers_are_built_by_name_from_what_a_collection_has() -> None:
    ids = [f"d{i}" for i in range(90)]
    collection = Collection([f"word{i}" for i in range(90)], ids, CORPUS, Encoder())
    retriever: Retriever = build_retriever("dense", collection, tile=(1, 9))
    assert same(retriever.top(ASKED, 4), brute_force(QUERIES, CORPUS, 4))
    assert build_retriever("bm25", collection).top(Queries(["word7"]), 1).indices.tolist() == [[7]]
    assert same(build_retriever("faiss", collection, kind="flat").top(ASKED, 4), brute_force(QUERIES, CORPUS, 4))
    assert set(RETRIEVERS) == {"bm25", "dense", "faiss", "run"}


def test_what_a_retriever_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match="retriever 'sparse' is unknown; choose one of bm25, dense"):
        build_retriever("sparse", Collection())
    for name, field in (("bm25", "texts"), ("dense", "encode"), ("faiss", "encode"), ("run", "ids")):
        options = {"path": "x"} if name == "run" else {}
        with pytest.raises(ConfigError, match=f"retriever '{name}' needs the {field} of the collection"):
            build_retriever(name, Collection(), **options)
    with pytest.raises(DataError, match="2 texts but 1 ids"):
        Queries(["a", "b"], ["1"])
