"""Retrievers of a recipe: vectors that are looked up, runs under any name of a document, more depth for outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.mining.files import make_pairs, recipe_of, write_rows
from training.errors import DataError
from training.mine_recipe import Scorer
from training.mining.known_runs import load_run
from training.mining.search import KnownVectors, Recorded, ServedCrossEncoder, Stepwise
from training.mining.sources import Source, load_source
from training.mining.text_store import digests_of
from training.retrieval.bm25 import Bm25Retriever
from training.retrieval.queries import Queries

PAIRS = make_pairs()


def test_vectors_are_found_for_any_choice_of_texts() -> None:
    texts = [f"text {i}" for i in range(30)]
    vectors = np.arange(60, dtype=np.float32).reshape(30, 2)
    known = KnownVectors(digests_of(texts), vectors)
    assert known(texts) is vectors
    assert np.array_equal(known([texts[7], texts[2], texts[7]]), vectors[[7, 2, 7]])


def test_search_in_steps_and_with_more_depth_finds_the_same() -> None:
    texts, queries = [row["answer"] for row in PAIRS], Queries([row["query"] for row in PAIRS])
    plain = Bm25Retriever(texts)
    recorded = Recorded(Stepwise(plain, "search", progress=False, step=7), depth=9)
    hits = recorded.top(queries, 4)
    assert np.array_equal(hits.indices, plain.top(queries, 4).indices)
    assert recorded.found is not None
    assert np.array_equal(recorded.found.scores, plain.top(queries, 9).scores)
    pairs = np.array([3, 1]), np.array([2, 1])
    assert np.array_equal(recorded.pair_scores(queries, *pairs), plain.pair_scores(queries, *pairs))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Documents c0 to c3, of which c2 and c0 are the same text, before the answers."""
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    texts = ["one", "two", "one", "three"]
    write_rows(tmp_path / "corpus.jsonl", [{"id": f"c{i}", "text": text} for i, text in enumerate(texts)])
    recipe = recipe_of(tmp_path, corpus={"path": "corpus.jsonl", "id": "id"})
    return load_source(recipe, tmp_path / "cache", progress=False)


def write_run(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row} tag\n" for row in rows))
    return path


def test_equal_documents_count_once_in_a_run_under_their_first_name(tmp_path: Path, source: Source) -> None:
    rows = ("query0 Q0 c2 1 9", "query0 Q0 c1 2 8", "query0 Q0 c0 3 7", "elsewhere Q0 c3 1 1")
    run = load_run(write_run(tmp_path / "a.trec", *rows), source)
    assert list(run.ranking(0)) == [("c0", 9.0), ("c1", 8.0)]
    assert list(run.ranking(1)) == [("c3", 1.0)]


def test_unknown_names_in_a_run_are_refused_by_line(tmp_path: Path, source: Source) -> None:
    path = write_run(tmp_path / "a.trec", "query0 Q0 c2 1 9", "query0 Q0 c9 2 8")
    with pytest.raises(DataError, match=r"a\.trec, line 2: the corpus has no document 'c9'"):
        load_run(path, source)
    with pytest.raises(DataError, match=r"b\.trec: has none of the queries, only such as 'q0'"):
        load_run(write_run(tmp_path / "b.trec", "q0 Q0 c2 1 9"), source)
    with pytest.raises(DataError, match=r"c\.trec: is empty; give a run of these queries"):
        load_run(write_run(tmp_path / "c.trec"), source)


def test_a_served_rescorer_has_a_stream_on_each_core(reranker_dir: Path) -> None:
    """Many pairs are scored, and none of them is waited for."""
    scorer = ServedCrossEncoder.load(Scorer(model=str(reranker_dir), backend="openvino"), threads=2)
    assert scorer._model.backend.streams == 2  # type: ignore[attr-defined]
    assert len(scorer.predict([("a", "b"), ("c", "d e")])) == 2
