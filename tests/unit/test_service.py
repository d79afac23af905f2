"""One request through the service, without HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.batching.batcher import MicroBatcher, QueueLimits
from app.errors import DeadlineExceeded, InputTooLong, Overloaded, PayloadTooLarge, ValidationError
from app.model.cross_encoder import CrossEncoder
from app.model.types import Batch, FloatArray
from app.service import SLICE, SLICE_CHARACTERS, Options, ScoringService, cuts, rank


class Gate:
    """The model's engine, slowed down by a fixed time per forward."""

    def __init__(self, model: CrossEncoder, seconds: float = 0.0) -> None:
        self.pad = model.pad
        self._model, self._seconds = model, seconds
        self.rows = 0

    def forward(self, batch: Batch) -> FloatArray:
        time.sleep(self._seconds)
        self.rows += len(batch["input_ids"])
        return self._model.forward(batch)


@pytest.fixture(scope="module")
def model(reranker_dir: Path) -> CrossEncoder:
    return CrossEncoder.load(reranker_dir)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def options(timeout_s: float = 30.0, **wishes: Any) -> Options:
    return Options(timeout_s=timeout_s, arrived_at=time.monotonic(), **wishes)


def run(
    model: CrossEncoder,
    pool: ThreadPoolExecutor,
    work: Any,
    engine: Gate | None = None,
    limits: QueueLimits | None = None,
    max_documents: int = 10_000,
    max_text_characters: int = 100_000,
) -> Any:
    """The result of `work(service)` on a fresh service, after which nothing may be left pending."""
    batcher = MicroBatcher(engine or Gate(model), limits=limits)
    service = ScoringService("rr", model, batcher, pool, max_documents, max_text_characters)

    async def main() -> Any:
        return await work(service)

    try:
        return asyncio.run(main())
    finally:
        batcher.close()
        assert batcher.pending_tokens == 0
        assert service._encoding_requests == service._encoding_tokens == 0


def test_a_request_longer_than_a_slice_is_encoded_whole_and_in_order(
    model: CrossEncoder, pool: ThreadPoolExecutor
) -> None:
    documents = [f"fox {i} dog" for i in range(2 * SLICE + 3)]
    prediction = run(model, pool, lambda service: service.score_documents("paris", documents, options()))
    expected = model.predict([("paris", document) for document in documents])
    assert prediction.scores[:, 0] == pytest.approx(expected, abs=1e-6)
    assert prediction.usage.items == len(documents)
    assert prediction.usage.tokens == sum(map(len, model.tokenizer.encode("paris", documents, model.options)))


def test_the_query_is_tokenised_once_per_request(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    """Counted at the tokenizer itself."""
    seen: list[str] = []
    inner = model.tokenizer._tokenizer

    class Counting:
        def encode_batch_fast(self, texts: list[str], **flags: bool) -> Any:
            seen.extend(texts)
            return inner.encode_batch_fast(texts, **flags)

    model.tokenizer._tokenizer = Counting()  # type: ignore[assignment]
    try:
        run(model, pool, lambda service: service.rerank("paris", ["a"] * (2 * SLICE), options()))
    finally:
        model.tokenizer._tokenizer = inner
    assert seen.count("paris") == 1
    assert seen.count("a") == 2 * SLICE


def test_ranking_goes_by_logits_even_where_scores_saturate() -> None:
    """Sigmoid gives 1.0 for all of these in float32; the logits still differ."""
    logits = np.array([[40.0], [60.0], [50.0], [60.0]], dtype=np.float32)
    assert rank(logits) == [1, 3, 2, 0]
    assert rank(np.empty((0, 0), dtype=np.float32)) == []


def test_a_deadline_stops_the_computation(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    engine = Gate(model, 0.1)
    with pytest.raises(DeadlineExceeded):
        run(model, pool, lambda s: s.score_documents("a", ["paris " * 200] * 200, options(0.25)), engine)
    assert engine.rows < 100


def test_a_deadline_that_has_passed_computes_nothing(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    engine = Gate(model)
    late = Options(timeout_s=0.5, arrived_at=time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded):
        run(model, pool, lambda service: service.score_documents("a", ["paris"], late), engine)
    assert engine.rows == 0


def test_a_cancelled_caller_leaves_nothing_behind(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    engine = Gate(model, 0.05)

    async def work(service: ScoringService) -> None:
        task = asyncio.create_task(service.score_documents("a", ["paris " * 200] * 200, options()))
        while not service.batcher.pending_requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert service.batcher.pending_requests == 0

    run(model, pool, work, engine)
    assert engine.rows < 50


def test_a_full_queue_refuses_before_anything_is_tokenised(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    """The second request is refused on an estimate: its iterator of slices is never asked."""

    async def work(service: ScoringService) -> None:
        first = asyncio.create_task(service.score_documents("a", ["paris rome"] * 100, options()))
        while not service.batcher.pending_requests:
            await asyncio.sleep(0.001)
        asked = []
        encode_slices = type(model.tokenizer).encode_slices

        def watched(self: Any, *arguments: Any) -> Any:
            for part in encode_slices(self, *arguments):
                asked.append(len(part))
                yield part

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(model.tokenizer), "encode_slices", watched)
            with pytest.raises(Overloaded):
                await service.score_documents("a", ["paris rome " * 20] * 100, options())
        assert asked == []
        await first

    run(model, pool, work, Gate(model, 0.3), QueueLimits(max_pending_tokens=1500))


def test_over_long_items_are_named_when_truncation_is_declined(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    with pytest.raises(InputTooLong, match="item 1 has 704 tokens and the model takes 512"):
        run(model, pool, lambda s: s.score_documents("a", ["b", "fox " * 700], options(truncate=False)))


def test_too_many_items_are_refused(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    with pytest.raises(PayloadTooLarge, match="3 items and the limit is 2"):
        run(model, pool, lambda s: s.score_documents("a", ["b"] * 3, options()), max_documents=2)


def test_a_classifier_has_no_relevance_score(classifier_dir: Path, pool: ThreadPoolExecutor) -> None:
    classifier = CrossEncoder.load(classifier_dir)
    for work in (
        lambda service: service.rerank("a", ["b"], options()),
        lambda service: service.score_pairs([("a", "b")], options()),
    ):
        with pytest.raises(ValidationError, match="3 labels"):
            run(classifier, pool, work)


def test_texts_and_pairs_may_be_mixed(classifier_dir: Path, pool: ThreadPoolExecutor) -> None:
    classifier = CrossEncoder.load(classifier_dir)
    inputs = ["a dog", ("a dog", "a cat"), "rome"]
    mixed = run(classifier, pool, lambda service: service.classify(inputs, options()))
    alone = [run(classifier, pool, lambda service, one=one: service.classify([one], options())) for one in inputs]
    assert mixed.scores == pytest.approx(np.concatenate([each.scores for each in alone]), abs=1e-6)


def test_slices_are_bounded_in_texts_and_in_characters() -> None:
    assert list(cuts([])) == []
    assert list(cuts(["a"] * (SLICE + 1))) == [(0, SLICE), (SLICE, SLICE + 1)]
    half = "a" * (SLICE_CHARACTERS // 2)
    assert list(cuts([half, half, half, "a" * SLICE_CHARACTERS * 2, "b"])) == [(0, 2), (2, 3), (3, 4), (4, 5)]


def test_a_text_that_would_block_the_tokeniser_is_refused(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    for work in (
        lambda service: service.score_documents("a", ["b", "c" * 1001], options()),
        lambda service: service.score_documents("a" * 1001, ["b"], options()),
        lambda service: service.score_pairs([("a", "b"), ("a", "c" * 1001)], options()),
    ):
        with pytest.raises(PayloadTooLarge, match="characters and the limit is 1000"):
            run(model, pool, work, max_text_characters=1000)


def test_a_cut_per_document_counts_in_the_early_refusal(model: CrossEncoder, pool: ThreadPoolExecutor) -> None:
    """100 documents of 2,000 characters fit a queue of 2,000 tokens when each is cut to 4 tokens."""
    documents = ["paris rome " * 180] * 100
    wishes = options(max_document_tokens=4)
    prediction = run(
        model, pool, lambda s: s.score_documents("a", documents, wishes), limits=QueueLimits(max_pending_tokens=2000)
    )
    assert prediction.usage.tokens < 2000


def test_no_inputs_give_no_scores_whatever_the_labels(classifier_dir: Path, pool: ThreadPoolExecutor) -> None:
    prediction = run(CrossEncoder.load(classifier_dir), pool, lambda service: service.classify([], options()))
    assert prediction.scores.shape == (0, 3)


def test_a_single_label_is_classified_by_sigmoid_even_where_the_model_ranks_by_logits(
    model: CrossEncoder, pool: ThreadPoolExecutor
) -> None:
    identity = replace(model, artifact=replace(model.artifact, activation="identity"))
    classified = run(identity, pool, lambda service: service.classify([("paris", "rome")], options()))
    scored = run(identity, pool, lambda service: service.score_pairs([("paris", "rome")], options()))
    assert scored.scores == scored.logits
    assert classified.scores == pytest.approx(1 / (1 + np.exp(-classified.logits)), abs=1e-6)
