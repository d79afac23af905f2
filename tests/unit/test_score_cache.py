"""The cache of scores: exact answers, bounded memory, nothing kept of what failed."""

from __future__ import annotations

import asyncio
import os
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.batching.batcher import MicroBatcher
from app.errors import BackendError, DeadlineExceeded
from app.model.cross_encoder import CrossEncoder
from app.model.types import Batch, Encoded, FloatArray
from app.score_cache import KEY_BYTES, ModelScores, ScoreCache
from app.service import Options, ScoringService
from tests.unit.api.conftest import start, wait_ready
from tests.unit.api.test_operations import series

DOCUMENTS = ["paris is a city", "rome", "the fox jumps over the lazy dog"]


def keys(count: int) -> list[bytes]:
    return [os.urandom(KEY_BYTES) for _ in range(count)]


def logits(count: int, labels: int = 1) -> FloatArray:
    return np.arange(count * labels, dtype=np.float32).reshape(count, labels)


def test_what_was_kept_is_found_bit_for_bit() -> None:
    cache = ScoreCache(10_000)
    known, rows = keys(3), np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    cache.keep(known, rows)
    found = cache.find([*known, *keys(2)])
    assert list(found) == known
    assert all(np.array_equal(found[key], row) for key, row in zip(known, rows, strict=True))


def test_the_least_recently_used_goes_first() -> None:
    cache = ScoreCache(3 * 260)
    first, second, third, fourth = keys(4)
    cache.keep([first, second, third], logits(3))
    assert list(cache.find([first])) == [first]
    cache.keep([fourth], logits(1))
    assert set(cache.find([first, second, third, fourth])) == {first, third, fourth}


@pytest.mark.parametrize(("labels", "entries"), [(1, 20_000), (8, 20_000), (1, 150_000)])
def test_the_memory_stays_within_its_bound(labels: int, entries: int) -> None:
    """As the allocator sees it; most of it is used."""
    bound = 8_000_000
    tracemalloc.start()
    try:
        cache = ScoreCache(bound)
        for _ in range(0, entries, 1000):
            cache.keep(keys(1000), logits(1000, labels))
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used <= bound
    assert used >= 0.6 * cache.used_bytes
    assert len(cache) == entries or cache.used_bytes > 0.99 * bound


def test_threads_may_share_it() -> None:
    cache = ScoreCache(50_000)

    def work(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            numbers = rng.integers(0, 1000, 20)
            known = [int(number).to_bytes(KEY_BYTES, "big") for number in numbers]
            cache.keep(known, numbers[:, None].astype(np.float32))
            for key, found in cache.find(known).items():
                assert found[0] == int.from_bytes(key, "big")
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))
    assert cache.used_bytes <= 50_000


def encoded(*ids: int, split: int = 2) -> Encoded:
    return Encoded(np.array(ids, dtype=np.int32), split, len(ids))


def test_ids_segments_and_model_make_the_key() -> None:
    """And nothing else: the length before truncation does not change a score."""
    cache, counts = ScoreCache(10_000), []
    scores = ModelScores(cache, "model", lambda hits, misses: counts.append((hits, misses)))
    rows = [encoded(1, 2, 3), encoded(1, 2, 4), encoded(1, 2, 3, split=1), encoded(1, 2)]
    assert scores.look_up(rows).missing == rows
    scores.look_up(rows).complete(logits(4))
    assert scores.look_up(rows).missing == []
    assert scores.look_up([Encoded(rows[0].ids, 2, 99)]).missing == []
    other = ModelScores(cache, "another", lambda hits, misses: None)
    assert other.look_up(rows).missing == rows
    assert counts == [(0, 4), (0, 4), (4, 0), (1, 0)]


def test_an_input_that_a_request_repeats_is_computed_once() -> None:
    scores = ModelScores(ScoreCache(10_000), "model", lambda hits, misses: None)
    lookup = scores.look_up([encoded(1, 2, 3), encoded(7, 8, 9), encoded(1, 2, 3)])
    assert len(lookup.missing) == 2
    assert lookup.complete(logits(2)).tolist() == [[0.0], [1.0], [0.0]]


class Counting:
    """The model's engine: counts rows, waits, and fails on the document "lazy"."""

    def __init__(self, model: CrossEncoder) -> None:
        self.pad, self._model = model.pad, model
        self.rows, self.seconds, self.fails = 0, 0.0, False

    def forward(self, batch: Batch) -> FloatArray:
        time.sleep(self.seconds)
        if self.fails:
            raise ValueError("broken")
        self.rows += len(batch["input_ids"])
        return self._model.forward(batch)


@pytest.fixture(scope="module")
def model(classifier_dir: Path) -> CrossEncoder:
    return CrossEncoder.load(classifier_dir)


@pytest.fixture
def engine(model: CrossEncoder) -> Counting:
    return Counting(model)


@pytest.fixture
def service(model: CrossEncoder, engine: Counting) -> Iterator[ScoringService]:
    """A classifier with a cache."""
    batcher = MicroBatcher(engine)
    scores = ModelScores(ScoreCache(100_000), "model", lambda hits, misses: None)
    with ThreadPoolExecutor(1) as encoders:
        yield ScoringService("nli", model, batcher, encoders, 1000, 10_000, scores)
    batcher.close()


def classify(service: ScoringService, texts: list[str], timeout_s: float = 30.0, **wishes: Any) -> FloatArray:
    prediction = asyncio.run(service.classify(texts, Options(timeout_s, time.monotonic(), **wishes)))
    assert prediction.usage.items == len(texts)
    assert prediction.usage.tokens >= len(texts)
    return prediction.scores


def test_answers_are_the_same_with_and_without(service: ScoringService, engine: Counting, model: CrossEncoder) -> None:
    """Whatever the activation; only what is new is computed, wherever it stands in the request."""
    first = classify(service, DOCUMENTS)
    mixed = classify(service, ["new", *reversed(DOCUMENTS)])
    assert engine.rows == 4
    assert np.array_equal(mixed[1:], first[::-1])
    raw = classify(service, DOCUMENTS, raw_scores=True)
    assert engine.rows == 4
    assert np.array_equal(model.activate(raw, "softmax"), first)
    assert not np.array_equal(raw, first)


def test_a_limit_of_the_request_makes_another_input(service: ScoringService, engine: Counting) -> None:
    long = ("paris", "quick brown fox jumps over the lazy dog")
    for most in (None, 2, 2, None):
        asyncio.run(service.classify([long], Options(30, time.monotonic(), max_document_tokens=most)))
    assert engine.rows == 2


def test_nothing_of_a_failed_request_is_kept(service: ScoringService, engine: Counting) -> None:
    engine.fails = True
    with pytest.raises(BackendError):
        classify(service, DOCUMENTS)
    engine.fails = False
    classify(service, DOCUMENTS)
    assert engine.rows == 3


def test_nothing_of_an_abandoned_request_is_kept(service: ScoringService, engine: Counting) -> None:
    engine.seconds = 0.3
    with pytest.raises(DeadlineExceeded):
        classify(service, DOCUMENTS, timeout_s=0.1)
    engine.seconds = 0.0
    time.sleep(0.4)
    before = engine.rows
    classify(service, DOCUMENTS)
    assert engine.rows == before + 3


@pytest.fixture(scope="module")
def client(reranker_dir: Path) -> Iterator[TestClient]:
    with start(model=(f"rr={reranker_dir}", f"same={reranker_dir}"), score_cache_mb=1) as running:
        yield wait_ready(running)


def test_hits_and_misses_are_counted_by_model(client: TestClient) -> None:
    def lookups(model: str, result: str) -> float:
        return series(client)[("reranker_score_cache_lookups_total", (("model", model), ("result", result)))]

    body = {"query": "what is the capital", "documents": DOCUMENTS}
    assert lookups("rr", "hit") == lookups("same", "miss") == 0
    assert series(client)[("reranker_score_cache_bytes", ())] == 0
    answers = [client.post("/rerank", json=body).json()["results"] for _ in range(2)]
    assert answers[0] == answers[1]
    assert (lookups("rr", "hit"), lookups("rr", "miss")) == (3, 3)
    assert (lookups("same", "hit"), lookups("same", "miss")) == (0, 0)
    assert series(client)[("reranker_score_cache_bytes", ())] > 0


def test_it_is_off_by_default(reranker_dir: Path) -> None:
    with start(model=(str(reranker_dir),)) as running:
        for _ in range(2):
            wait_ready(running).post("/rerank", json={"query": "a", "documents": DOCUMENTS})
        assert series(running)[("reranker_score_cache_bytes", ())] == 0
        assert series(running)[("reranker_batch_rows_sum", (("model", reranker_dir.name),))] == 6
