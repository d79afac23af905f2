"""semantic_search against the established library's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import util as established

from training import util


def rows(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def assert_same(own: list[list[Any]], other: list[list[Any]]) -> None:
    assert [[found["corpus_id"] for found in row] for row in own] == [[f["corpus_id"] for f in row] for row in other]
    for mine, theirs in zip(own, other, strict=True):
        assert [f["score"] for f in mine] == pytest.approx([f["score"] for f in theirs], rel=1e-5, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 60), st.integers(2, 16)),
    chunks=st.tuples(st.integers(1, 9), st.integers(1, 40)),
    top_k=st.integers(1, 70),
    name=st.sampled_from(["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"]),
)
def test_equal_to_the_established_function(
    seed: int, shape: tuple[int, int, int], chunks: tuple[int, int], top_k: int, name: str
) -> None:
    queries, corpus = rows(shape[0], shape[2], seed), rows(shape[1], shape[2], seed + 1)
    own = util.semantic_search(queries, corpus, *chunks, top_k, getattr(util, name))
    assert_same(own, established.semantic_search(queries, corpus, *chunks, top_k, getattr(established, name)))


@pytest.mark.parametrize("name", ["cos_sim", "dot_score"])
def test_forms_of_embeddings(name: str) -> None:
    queries, corpus = rows(3, 8, 0), rows(20, 8, 1) * (rows(20, 8, 2) > 0)
    expected = established.semantic_search(queries, corpus, top_k=4, score_function=getattr(established, name))
    forms: list[tuple[Any, Any]] = [
        (queries.numpy(), corpus.numpy()),
        (list(queries), list(corpus.numpy())),
        (queries.tolist(), corpus),
        (queries.double(), corpus.double()),
        (queries.requires_grad_(), corpus),
        (queries.detach().to_sparse(), corpus.to_sparse()),
    ]
    for first, second in forms:
        assert_same(util.semantic_search(first, second, 2, 7, 4, getattr(util, name)), expected)
    (one,) = util.semantic_search(queries[0], corpus, top_k=2, score_function=getattr(util, name))
    assert_same([one], [expected[0][:2]])
    assert isinstance(one[0]["corpus_id"], int)
    assert isinstance(one[0]["score"], float)


def test_ties_are_in_the_order_of_the_corpus() -> None:
    corpus = torch.ones(50, 4)
    for function in (util.cos_sim, util.dot_score, util.euclidean_sim):
        (found,) = util.semantic_search(torch.ones(1, 4), corpus, 1, 7, 5, function)
        assert [row["corpus_id"] for row in found] == [0, 1, 2, 3, 4]


def test_nothing_to_search() -> None:
    assert util.semantic_search(torch.zeros(0, 4), torch.ones(3, 4)) == []
    assert util.semantic_search(torch.ones(2, 4), torch.zeros(0, 4)) == [[], []]


def test_sizes_below_one_are_refused() -> None:
    for name in ("query_chunk_size", "corpus_chunk_size", "top_k"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            util.semantic_search(np.ones((1, 2)), np.ones((1, 2)), **{name: 0})
