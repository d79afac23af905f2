"""FAISS finds candidates; they are scored as the exact search does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from app.errors import ConfigError
from tests.unit.training.retrieval.vectors import brute_force, same, unit
from training.errors import DataError
from training.retrieval.faiss_index import FaissRetriever
from training.retrieval.queries import Queries

QUERIES, CORPUS = unit(20, 16), unit(2000, 16, 1)
ASKED = Queries([""] * 20)
EXPECTED = brute_force(QUERIES, CORPUS, 10)


def over(corpus: Any = CORPUS, *arguments: Any, **options: Any) -> FaissRetriever:
    return FaissRetriever(lambda _: QUERIES, corpus, *arguments, **options)


def recall(retriever: FaissRetriever) -> float:
    found = retriever.top(ASKED, 10).indices
    return float(np.mean([np.isin(own, best).mean() for own, best in zip(found, EXPECTED.indices, strict=True)]))


def test_a_flat_index_equals_brute_force_and_faiss_itself() -> None:
    found = over().top(ASKED, 10)
    assert same(found, EXPECTED)
    index = faiss.IndexFlatIP(16)
    index.add(CORPUS)
    scores, indices = index.search(QUERIES, 10)
    assert np.array_equal(found.indices, indices)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)


def test_approximate_indices_find_more_the_more_they_search() -> None:
    assert recall(over(kind="ivf", clusters=40, nprobe=1)) < 0.9 < recall(over(kind="ivf", clusters=40, nprobe=30))
    assert over(kind="ivf", clusters=40, nprobe=40).top(ASKED, 10).indices.tolist() == EXPECTED.indices.tolist()
    wide = {"neighbours": 8, "ef_construction": 64}
    narrow = {"neighbours": 2, "ef_construction": 4}
    assert recall(over(kind="hnsw", ef_search=10, **narrow)) < 0.9 < recall(over(kind="hnsw", ef_search=500, **wide))


def test_fewer_hits_than_asked_are_padded() -> None:
    hits = over(kind="ivf", clusters=40, nprobe=1).top(ASKED, 500)
    assert ((hits.indices == -1) == np.isneginf(hits.scores)).all()
    assert 0 < (hits.indices >= 0).sum(axis=1).max() < 500
    assert over(CORPUS[:3]).top(ASKED, 5).indices[:, 3:].tolist() == [[-1, -1]] * 20
    assert over(CORPUS[:0]).top(ASKED, 2).indices.tolist() == [[-1, -1]] * 20


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_an_index_on_disk_is_found_again(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "index.faiss"
    first = over(CORPUS, kind, path).top(ASKED, 10)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.faiss"]
    written = path.stat().st_mtime_ns
    again = over(torch.from_numpy(CORPUS), kind, path)
    assert path.stat().st_mtime_ns == written
    assert same(again.top(ASKED, 10), first)
    rows = np.repeat(np.arange(20), 10)
    assert np.array_equal(again.pair_scores(ASKED, rows, first.indices.ravel()), first.scores.ravel())


def test_an_index_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    over(CORPUS, "flat", path)
    with pytest.raises(DataError, match="holds IndexFlatIP of 2000 documents with 16 dimensions, but IndexFlatIP of 9"):
        over(CORPUS[:9], "flat", path)
    with pytest.raises(DataError, match="but IndexHNSWFlat of 2000 with 16 is needed; delete it"):
        over(CORPUS, "hnsw", path)
    path.write_bytes(b"no index")
    with pytest.raises(DataError, match=r"index\.faiss: is no FAISS index"):
        over(CORPUS, "flat", path)
    with pytest.raises(DataError, match="query embeddings have 16 dimensions, the index 8"):
        over(CORPUS[:, :8]).top(ASKED, 1)


def test_wrong_options_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="kind 'pq' is unknown; choose one of flat, ivf, hnsw"):
        over(kind="pq")
    with pytest.raises(ConfigError, match="option 'probes' is unknown; the options are clusters, nprobe"):
        over(kind="ivf", probes=3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install 'crossrank\[faiss\]'"):
        over()
