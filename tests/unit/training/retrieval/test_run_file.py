"""Runs in TREC's format."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.errors import DataError
from training.retrieval import build_retriever
from training.retrieval.collection import Collection
from training.retrieval.hits import Hits
from training.retrieval.queries import Queries
from training.retrieval.run_file import Run, RunRetriever, read_run, write_run

LINES = "q2 Q0 d3 2 0.5 t\nq2 Q0 d1 1 0.5 t\n\nq1 Q0 d2 7 -1e-3 t\nq2\tQ0\td2\t3\t9\tt\n"
IDS = ["d0", "d1", "d2", "d3"]


def test_documents_are_ordered_by_score_and_then_by_rank(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text(LINES)
    run = read_run(tmp_path / "a.run")
    assert run.query_ids == ["q2", "q1"]
    assert [list(run.ranking(i)) for i in range(2)] == [
        [("d2", 9.0), ("d1", 0.5), ("d3", 0.5)],
        [("d2", pytest.approx(-1e-3))],
    ]


def test_queries_are_looked_up_by_id(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.run.gz", "wt") as file:
        file.write(LINES)
    retriever = build_retriever("run", Collection(ids=IDS), path=tmp_path / "a.run")
    asked = Queries(["", "", ""], ["q1", "none", "q2"])
    hits = retriever.top(asked, 2)
    assert hits.indices.tolist() == [[2, -1], [-1, -1], [2, 1]]
    assert hits.scores[2].tolist() == [9.0, 0.5]
    scores = retriever.pair_scores(asked, np.array([2, 0, 1, 2]), np.array([3, 0, 2, 2]))
    assert np.array_equal(scores, np.array([0.5, np.nan, np.nan, 9], dtype=np.float32), equal_nan=True)
    with pytest.raises(DataError, match="queries are looked up by id; give the ids"):
        retriever.top(Queries([""]), 1)
    with pytest.raises(DataError, match=r"a\.run: the corpus has no document 'd1'"):
        RunRetriever(tmp_path / "a.run", ["d3", "d2"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), queries=st.integers(0, 8), k=st.integers(1, 6))
def test_what_is_written_is_read_again_to_the_last_bit(tmp_path: Path, seed: int, queries: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    indices = np.array([rng.permutation(9)[:k] for _ in range(queries)], dtype=np.int64).reshape(queries, k)
    scores = -np.sort(-rng.choice([1e-30, 0.1, 1 / 3, 7e8], (queries, k)).astype(np.float32) * rng.normal())
    scores = -np.sort(-scores, axis=1)
    indices[:, k // 2 + 1 :], scores[:, k // 2 + 1 :] = -1, -np.inf
    query_ids, document_ids = [f"é{i}" for i in range(queries)], [f"d{i}" for i in range(9)]
    write_run(tmp_path / "run.txt", Run.of_hits(Hits(indices, scores), query_ids, document_ids))
    hits = RunRetriever(tmp_path / "run.txt", document_ids).top(Queries(query_ids, query_ids), k)
    assert np.array_equal(hits.indices, indices)
    assert np.array_equal(hits.scores, scores)


def test_the_format_is_the_one_that_evaluation_tools_read(tmp_path: Path) -> None:
    import ir_measures

    hits = Hits(np.array([[2, 0], [1, -1]]), np.array([[0.5, 0.25], [3, -np.inf]], dtype=np.float32))
    write_run(tmp_path / "a.run", Run.of_hits(hits, ["a", "b"], IDS), tag="bm25")
    assert (tmp_path / "a.run").read_text() == "a Q0 d2 1 0.5 bm25\na Q0 d0 2 0.25 bm25\nb Q0 d1 1 3.0 bm25\n"
    rows = list(ir_measures.read_trec_run(str(tmp_path / "a.run")))
    assert [(row.query_id, row.doc_id, row.score) for row in rows] == [
        ("a", "d2", 0.5),
        ("a", "d0", 0.25),
        ("b", "d1", 3.0),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d1 1 0.5", r"line 2: has 5 columns; a run file has 6: query-id Q0 document-id rank score tag"),
        ("q1 Q0 d1 first 0.5 t", r"line 2: column 'rank' is 'first', no whole number"),
        ("q1 Q0 d1 1 high t", r"line 2: column 'score' is 'high', no number"),
        ("q1 Q0 d1 1 nan t", r"line 2: column 'score' is 'nan'; give a finite number"),
        ("q1 Q0 d9 2 0.1 t", r"line 2: query 'q1' has document 'd9' since line 1; remove one"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.run").write_text(f"q1 Q0 d9 1 0.5 t\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "a.run")
    with pytest.raises(DataError, match="no such file"):
        read_run(tmp_path / "b.run")


def test_an_interrupted_or_refused_write_leaves_the_old_run(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("old")
    hits = Hits(np.array([[0], [1]]), np.ones((2, 1), dtype=np.float32))
    with pytest.raises(DataError, match="cannot hold the id 'two words'"):
        write_run(tmp_path / "a.run", Run.of_hits(hits, ["a", "two words"], IDS))
    with pytest.raises(DataError, match="cannot hold the id ''"):
        write_run(tmp_path / "a.run", Run.of_hits(hits, ["a", "b"], ["", "d1"]))
    with pytest.raises(DataError, match="2 queries but 1 ids"):
        Run.of_hits(hits, ["a"], IDS)

    class Broken(Run):
        def ranking(self, query: int):  # type: ignore[no-untyped-def]
            yield "d0", 1.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path / "a.run", Broken(["a"], IDS, np.array([0, 1]), np.array([0]), np.ones(1, dtype=np.float32)))
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
