"""Whole evaluation sets, ranked by a tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.model.cross_encoder import CrossEncoder
from tests.benchmarks.ranking import quality, read_lists


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "pools").mkdir()
    (tmp_path / "queries.jsonl").write_text("".join(f'{{"_id": "q{i}", "text": "query {i}"}}\n' for i in range(3)))
    (tmp_path / "corpus.jsonl").write_text("".join(f'{{"_id": "d{i}", "text": "{"x " * i}x"}}\n' for i in range(4)))
    judged = "q0\td1\t1\nq0\td2\t0\nq1\td0\t2\nq1\td3\t1\nq2\td0\t0\n"
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    pool = "".join(f"{q}\t{d}\t{rank}\t1.0\n" for q in ("q0", "q1", "q2") for rank, d in enumerate(("d0", "d1", "d3")))
    (tmp_path / "pools" / "test.tsv").write_text(f"query-id\tcorpus-id\trank\tscore\n{pool}")
    return tmp_path


def test_queries_without_a_relevant_candidate_are_left_out(directory: Path) -> None:
    lists = read_lists(directory)
    assert [own.tolist() for own in lists.grades] == [[0, 1, 0], [2, 0, 1]]
    assert lists.pairs[:3] == [("query 0", "x"), ("query 0", "x x"), ("query 0", "x x x x")]


def test_quality_is_that_of_the_order_of_the_logits(directory: Path, reranker_dir: Path) -> None:
    lists, model = read_lists(directory), CrossEncoder.load(reranker_dir)
    logits = model.predict(lists.pairs).reshape(2, 3)  # in the order of the logits
    best = [1.0, 2.0 + 1.0 / np.log2(3)]
    expected = []
    for own, grades, most in zip(logits, lists.grades, best, strict=True):
        ranks = np.argsort(np.argsort(-own, kind="stable"), kind="stable")
        expected.append((grades / np.log2(ranks + 2)).sum() / most)
    np.testing.assert_allclose(quality(model, lists), expected)
