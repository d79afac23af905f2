"""Lexical retrieval."""

from __future__ import annotations

import bm25s
import numpy as np
import Stemmer

from tests.unit.training.conftest import FACTS
from training.retrieval.bm25 import Bm25Retriever
from training.retrieval.queries import Queries

TEXTS = [answer for _, answer in FACTS]
EVERY = np.arange(len(TEXTS))


def test_the_text_with_the_words_of_the_query_comes_first() -> None:
    index = Bm25Retriever(TEXTS)
    assert index.top(Queries(["jumping foxes", "capital of Italy"]), 3).indices[:, 0].tolist() == [3, 2]
    scores = index.pair_scores(Queries(["learning machines"]), np.zeros(len(TEXTS), dtype=np.int64), EVERY)
    assert int(scores.argmax()) == 5


def test_queries_without_words_have_no_hits() -> None:
    asked = Queries(["", "the", "?", "zebra"])
    hits = Bm25Retriever(TEXTS).top(asked, 2)
    assert hits.indices.tolist() == [[-1, -1]] * 4
    assert np.isneginf(hits.scores).all()
    assert not Bm25Retriever(TEXTS).pair_scores(asked, np.arange(4), np.arange(4)).any()


def test_documents_without_a_common_word_are_no_hits() -> None:
    hits = Bm25Retriever(["red fox", "blue whale", "red deer"]).top(Queries(["red"]), 3)
    assert hits.indices.tolist() == [[0, 2, -1]]


def test_scores_are_those_of_bm25s_and_ties_keep_the_order() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(40)])
    texts = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(300)] * 2
    asked = Queries([" ".join(rng.choice(words, 3)) for _ in range(25)])
    hits = Bm25Retriever(texts).top(asked, 20)
    index, stemmer = bm25s.BM25(method="lucene", k1=0.9, b=0.4), Stemmer.Stemmer("english")
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(asked.texts), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
    _, best = index.retrieve(tokens, k=20, show_progress=False)
    np.testing.assert_allclose(hits.scores, best, rtol=1e-6)
    for row, own in enumerate(tokens):
        scores = np.asarray(index.get_scores(own))
        assert hits.indices[row].tolist() == np.argsort(-scores, kind="stable")[:20].tolist()
    rows = np.repeat(np.arange(25), 20)
    assert np.array_equal(Bm25Retriever(texts).pair_scores(asked, rows, hits.indices.ravel()), hits.scores.ravel())
    backwards = Bm25Retriever(texts).pair_scores(asked, rows[::-1], hits.indices.ravel()[::-1])
    assert np.array_equal(backwards, hits.scores.ravel()[::-1])
    assert Bm25Retriever(texts).pair_scores(asked, rows[:0], rows[:0]).shape == (0,)
