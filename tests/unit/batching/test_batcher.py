"""The batcher with its two threads, around a fake engine."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import numpy as np
import pytest

from app.batching.batcher import GROW_AFTER_BATCHES, BatchReport, MicroBatcher, QueueLimits, Submission
from app.errors import (
    BackendError,
    BackendOutOfMemory,
    DeadlineUnreachable,
    DeviceError,
    Overloaded,
    PayloadTooLarge,
    Unavailable,
)
from app.model.bucketing import Budget
from app.model.types import FloatArray
from tests.unit.batching.engines import FakeEngine, row, rows_of

Make = Callable[..., MicroBatcher]
WAIT_S = 10.0


@pytest.fixture
def make() -> Iterator[Make]:
    """Builds batchers and closes them after the test."""
    made: list[tuple[MicroBatcher, FakeEngine]] = []

    def build(engine: FakeEngine, **options: object) -> MicroBatcher:
        batcher = MicroBatcher(engine, **options)  # type: ignore[arg-type]
        made.append((batcher, engine))
        return batcher

    yield build
    for batcher, engine in made:
        engine.gate.set()
        batcher.close()
        assert batcher.pending_requests == 0
        assert batcher.pending_tokens == 0


def scores(submission: Submission) -> list[float]:
    return submission.future.result(WAIT_S).logits[:, 0].tolist()


def hold(engine: FakeEngine, batcher: MicroBatcher) -> Submission:
    """Occupies the worker with one row until the gate opens."""
    engine.gate.clear()
    submission = batcher.submit([row(1)])
    assert engine.entered.acquire(timeout=WAIT_S)
    return submission


def test_answers_come_in_the_order_of_the_request(make: Make) -> None:
    batcher = make(FakeEngine(), budget=Budget(8, 2, 0.0))
    assert scores(batcher.submit([row(5, 5), row(1), row(7, 7, 7), row(2)])) == [10, 1, 21, 2]


def test_an_empty_request_is_answered_at_once(make: Make) -> None:
    assert make(FakeEngine()).submit([]).future.result(0).logits.size == 0


def test_what_waits_when_the_worker_becomes_free_is_one_batch(make: Make) -> None:
    """Three requests that arrive during a forward share the next one; no timer is involved."""
    engine = FakeEngine()
    batcher = make(engine)
    hold(engine, batcher)
    waiting = [batcher.submit(rows_of([value])) for value in (2, 3, 4)]
    engine.gate.set()
    assert [scores(each) for each in waiting] == [[8], [12], [16]]
    assert engine.batches == [[1], [8, 12, 16]]


def test_the_next_batch_is_padded_while_one_runs(make: Make) -> None:
    engine = FakeEngine()
    batcher = make(engine)
    hold(engine, batcher)
    assert engine.padded.acquire(timeout=WAIT_S)
    batcher.submit(rows_of([2]))
    assert engine.padded.acquire(timeout=WAIT_S), "the waiting row was not padded during the forward"
    assert engine.batches == []


def test_a_late_arrival_joins_a_batch_that_is_already_padded(make: Make) -> None:
    engine = FakeEngine()
    batcher = make(engine)
    hold(engine, batcher)
    assert engine.padded.acquire(timeout=WAIT_S)
    first = batcher.submit(rows_of([2]))
    assert engine.padded.acquire(timeout=WAIT_S)
    second = batcher.submit(rows_of([3]))
    engine.gate.set()
    assert (scores(first), scores(second)) == ([8], [12])
    assert engine.batches[1:] == [[8, 12]]


def test_a_cancelled_request_is_not_computed_any_further(make: Make) -> None:
    """50 rows in batches of 2; one batch is running when the client leaves."""
    engine = FakeEngine()
    batcher = make(engine, budget=Budget(8, 2, 0.0))
    engine.gate.clear()
    gone = batcher.submit(rows_of(range(50)))
    assert engine.entered.acquire(timeout=WAIT_S)
    batcher.cancel(gone)
    assert batcher.pending_tokens == 0
    other = batcher.submit(rows_of([100]))
    engine.gate.set()
    assert scores(other) == [400]
    assert len(engine.computed) == 3
    with pytest.raises(CancelledError):
        gone.future.result(0)


def test_cancelling_an_answered_request_changes_nothing(make: Make) -> None:
    batcher = make(FakeEngine())
    done = batcher.submit(rows_of([2]))
    assert scores(done) == [8]
    batcher.cancel(done)
    assert scores(done) == [8]


class TestFailures:
    """A failure reaches only the request whose item causes it."""

    @staticmethod
    def poison(value: float, error: Exception) -> Callable[[FloatArray], None]:
        def fault(sums: FloatArray) -> None:
            if value in sums:
                raise error

        return fault

    def test_only_the_culprit_fails_and_its_index_is_named(self, make: Make) -> None:
        engine = FakeEngine(self.poison(400, ValueError("cuda kaput")))
        batcher = make(engine)
        hold(engine, batcher)
        good = batcher.submit(rows_of([2, 3]))
        bad = batcher.submit(rows_of([4, 5, 100, 6]))
        also_good = batcher.submit(rows_of([7]))
        engine.gate.set()
        assert (scores(good), scores(also_good)) == ([8, 12], [28])
        with pytest.raises(BackendError, match="item 2") as caught:
            scores(bad)
        assert caught.value.index == 2
        assert "kaput" not in str(caught.value), "a foreign exception's text stays in the log"

    def test_the_worker_survives_any_number_of_failures(self, make: Make) -> None:
        batcher = make(FakeEngine(self.poison(400, ValueError())))
        for _ in range(20):
            with pytest.raises(BackendError):
                scores(batcher.submit(rows_of([100])))
        assert scores(batcher.submit(rows_of([2]))) == [8]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_score_that_is_no_number_fails_its_request(self, make: Make, value: float) -> None:
        def fault(sums: FloatArray) -> None:
            sums[sums == 400] = value

        engine = FakeEngine(fault)
        batcher = make(engine)
        hold(engine, batcher)
        good, bad = batcher.submit(rows_of([2])), batcher.submit(rows_of([3, 100]))
        engine.gate.set()
        assert scores(good) == [8]
        with pytest.raises(BackendError, match=r"item 1.*finite"):
            scores(bad)

    def test_a_backend_that_loses_rows_is_reported_as_a_bug_and_not_mixed_up(self, make: Make) -> None:
        class Forgetful(FakeEngine):
            def forward(self, batch: object) -> FloatArray:
                return super().forward(batch)[1:]  # type: ignore[arg-type]

        with pytest.raises(BackendError, match="item 0"):
            scores(make(Forgetful()).submit(rows_of([2, 3])))

    def test_out_of_memory_shrinks_the_batches_and_everybody_is_answered(self, make: Make) -> None:
        def fault(sums: FloatArray) -> None:
            if len(sums) > 4:
                raise BackendOutOfMemory("too many rows")

        engine = FakeEngine(fault)
        batcher = make(engine, budget=Budget(32, 8, 0.0))
        assert scores(batcher.submit(rows_of(range(64)))) == [value * 4 for value in range(64)]
        assert batcher.budget.max_tokens == 16, "half of the batch that failed, however many of that size follow"
        assert max(map(len, engine.batches)) == 4

    def test_the_budget_grows_back_once_the_shortage_is_over(self, make: Make) -> None:
        faults = iter([BackendOutOfMemory("for a moment")])

        def fault(sums: FloatArray) -> None:
            for error in faults:
                raise error

        batcher = make(FakeEngine(fault), budget=Budget(32, 8, 0.0))
        scores(batcher.submit(rows_of(range(8))))
        assert batcher.budget.max_tokens == 16
        for value in range(GROW_AFTER_BATCHES):
            scores(batcher.submit(rows_of([value])))
        assert batcher.budget == Budget(32, 8, 0.0)

    def test_a_row_that_never_fits_fails_alone_after_one_retry(self, make: Make) -> None:
        tries = []

        def fault(sums: FloatArray) -> None:
            if 400 in sums:
                tries.append(len(sums))
                raise BackendOutOfMemory("too long")

        batcher = make(FakeEngine(fault))
        with pytest.raises(BackendOutOfMemory, match="item 0"):
            scores(batcher.submit(rows_of([100])))
        assert tries == [1, 1]
        assert scores(batcher.submit(rows_of([2]))) == [8]

    def test_a_passing_device_error_is_retried_once(self, make: Make) -> None:
        faults = iter([DeviceError("CUDA error: launch failure")])

        def fault(sums: FloatArray) -> None:
            for error in faults:
                raise error

        assert scores(make(FakeEngine(fault)).submit(rows_of([2, 3]))) == [8, 12]

    def test_a_device_that_stays_broken_ends_the_worker(self, make: Make) -> None:
        died: list[BaseException] = []
        dead = threading.Event()

        def fault(sums: FloatArray) -> None:
            raise DeviceError("CUDA error: an illegal memory access was encountered")

        def on_death(error: BaseException) -> None:
            died.append(error)
            dead.set()

        batcher = make(FakeEngine(fault), on_death=on_death)
        for _ in range(3):
            with pytest.raises((DeviceError, Unavailable)):
                scores(batcher.submit(rows_of([2])))
        assert dead.wait(WAIT_S)
        assert isinstance(died[0], DeviceError)
        assert not batcher.alive
        with pytest.raises(Unavailable, match="died"):
            batcher.submit(rows_of([2]))


def test_whatever_kills_the_worker_everybody_is_told(make: Make) -> None:
    def fault(sums: FloatArray) -> None:
        raise SystemExit("killed")

    engine = FakeEngine(fault)
    batcher = make(engine)
    running = hold(engine, batcher)
    waiting = batcher.submit(rows_of([2]))
    engine.gate.set()
    for submission in (running, waiting):
        with pytest.raises(Unavailable, match="died"):
            scores(submission)


def test_abort_tells_everybody_who_waits(make: Make) -> None:
    engine = FakeEngine()
    batcher = make(engine)
    running, waiting = hold(engine, batcher), batcher.submit(rows_of([2]))
    batcher.abort("going down")
    for submission in (running, waiting):
        with pytest.raises(Unavailable, match="going down"):
            scores(submission)
    assert batcher.pending_tokens == 0


def test_close_answers_what_was_admitted_and_refuses_what_comes_later(make: Make) -> None:
    engine = FakeEngine()
    batcher = make(engine, budget=Budget(8, 2, 0.0))
    hold(engine, batcher)
    admitted = batcher.submit(rows_of(range(10)))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    engine.gate.set()
    assert scores(admitted) == [value * 4 for value in range(10)]
    closing.join(WAIT_S)
    assert not closing.is_alive()
    with pytest.raises(Unavailable, match="shutting down"):
        batcher.submit(rows_of([1]))


class TestAdmission:
    """Whole or not at all."""

    def test_a_request_that_does_not_fit_is_refused_whole(self, make: Make) -> None:
        engine = FakeEngine()
        batcher = make(engine, limits=QueueLimits(max_pending_tokens=100))
        holder = hold(engine, batcher)
        admitted = batcher.submit(rows_of(range(20)))
        with pytest.raises(Overloaded):
            batcher.submit(rows_of(range(6)))
        assert batcher.pending_tokens == 81
        fits = batcher.submit(rows_of(range(4)))
        engine.gate.set()
        assert [len(scores(each)) for each in (holder, admitted, fits)] == [1, 20, 4]
        assert len(engine.computed) == 25

    def test_too_many_requests_are_refused(self, make: Make) -> None:
        engine = FakeEngine()
        batcher = make(engine, limits=QueueLimits(max_pending_requests=2))
        hold(engine, batcher)
        batcher.submit(rows_of([2]))
        with pytest.raises(Overloaded, match="2 requests are pending"):
            batcher.submit(rows_of([3]))

    def test_a_request_larger_than_the_queue_is_told_so(self, make: Make) -> None:
        with pytest.raises(PayloadTooLarge, match="400 tokens"):
            make(FakeEngine(), limits=QueueLimits(max_pending_tokens=399)).submit(rows_of(range(100)))

    def test_retry_after_is_the_time_until_there_is_room_at_the_measured_rate(self, make: Make) -> None:
        engine = FakeEngine()
        batcher = make(engine, limits=QueueLimits(max_pending_tokens=101))
        hold(engine, batcher)
        batcher.rate.add(1000, 10.0)  # 100 tokens a second
        batcher.submit(rows_of(range(25)))
        with pytest.raises(Overloaded) as caught:
            batcher.submit(rows_of(range(10)))
        assert caught.value.retry_after_s == pytest.approx(0.4)

    def test_a_deadline_that_cannot_be_met_is_refused_at_once(self, make: Make) -> None:
        engine = FakeEngine()
        batcher = make(engine)
        hold(engine, batcher)
        batcher.rate.add(1000, 10.0)
        batcher.submit(rows_of(range(25)))
        with pytest.raises(DeadlineUnreachable) as caught:
            batcher.submit(rows_of(range(25)), timeout_s=1.5)
        assert caught.value.retry_after_s == pytest.approx(0.5, abs=0.1)
        batcher.submit(rows_of(range(10)), timeout_s=1.5)

    def test_an_idle_worker_takes_a_request_whatever_it_expects(self, make: Make) -> None:
        """A rate that was measured in a bad moment must not lock the service: only work can correct it."""
        batcher = make(FakeEngine())
        batcher.rate.add(512, 500.0)
        for _ in range(3):
            assert len(scores(batcher.submit(rows_of(range(100)), timeout_s=5.0))) == 100

    def test_asking_for_room_counts_what_is_still_being_tokenised_and_admits_nothing(self, make: Make) -> None:
        engine = FakeEngine()
        batcher = make(engine, limits=QueueLimits(max_pending_requests=3, max_pending_tokens=100))
        hold(engine, batcher)
        batcher.check_room(50, None, (1, 49))
        with pytest.raises(Overloaded, match="tokens"):
            batcher.check_room(50, None, (1, 50))
        with pytest.raises(Overloaded, match="requests"):
            batcher.check_room(1, None, (2, 0))
        assert batcher.pending_requests == 1

    def test_a_short_request_is_not_refused_for_the_length_of_another_one(self, make: Make) -> None:
        """What is still being tokenised takes room in the queue, but a short request will be served before it."""
        engine = FakeEngine()
        batcher = make(engine)
        hold(engine, batcher)
        batcher.rate.add(1000, 10.0)
        batcher.check_room(10, 1.0, (1, 100_000))
        with pytest.raises(DeadlineUnreachable):
            batcher.check_room(1000, 1.0, (0, 0))


def test_every_batch_is_reported_with_its_padding(make: Make) -> None:
    reports: list[BatchReport] = []
    batcher = make(FakeEngine(), observe=reports.append, budget=Budget(100, 10, 0.5))
    scores(batcher.submit([row(1, 1, 1, 1), row(2, 2, 2)]))
    batcher.close()
    assert [(report.rows, report.tokens, report.padded_tokens) for report in reports] == [(2, 7, 8)]


def test_timings_tell_waiting_from_computing(make: Make) -> None:
    engine = FakeEngine()
    batcher = make(engine)
    hold(engine, batcher)
    waiting = batcher.submit(rows_of([2]))
    threading.Timer(0.05, engine.gate.set).start()
    scored = waiting.future.result(WAIT_S)
    assert scored.queue_s >= 0.04
    assert scored.inference_s < 0.04


def test_many_threads_with_cancellations_and_failures_never_mix_up_an_answer(make: Make) -> None:
    """Eight clients, 60 requests each; every answer is checked, and nothing is left behind."""

    def fault(sums: FloatArray) -> None:
        if np.any(sums == 4 * 13):
            raise ValueError("thirteen")

    batcher = make(FakeEngine(fault), budget=Budget(200, 16, 0.5))
    outcomes: list[str] = []

    def client(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(60):
            values = [rng.randrange(20, 1000) for _ in range(rng.randrange(1, 30))]
            if rng.random() < 0.2:
                values[rng.randrange(len(values))] = 13
            submission = batcher.submit(rows_of(values))
            if rng.random() < 0.2:
                batcher.cancel(submission)
                outcomes.append("cancelled")
                continue
            error = submission.future.exception(WAIT_S)
            if error is None:
                right = scores(submission) == [value * 4 for value in values] and 13 not in values
            else:
                right = isinstance(error, BackendError) and error.index == values.index(13)
            outcomes.append(("scored" if error is None else "failed") if right else "wrong")

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 480
    assert {"scored", "cancelled", "failed"} == set(outcomes)
