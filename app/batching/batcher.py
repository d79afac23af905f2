"""Runs the queue policy: one thread scores batches, another pads the next one meanwhile.

There is no timer: a batch is what waits when the scoring thread becomes free, so a lone request starts at once
and a busy service forms full batches by itself. The event loop only submits and is told of finished requests.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from app.batching.queue import Plan, RequestQueue, Ticket
from app.batching.rate import ServiceRate
from app.batching.scoring import Attempt, Done, Engine, Failed, Row
from app.errors import (
    BackendError,
    BackendOutOfMemory,
    DeadlineUnreachable,
    DeviceError,
    Overloaded,
    PayloadTooLarge,
    RerankerError,
    Unavailable,
)
from app.model.bucketing import Budget
from app.model.types import Batch, Encoded, FloatArray

log = logging.getLogger(__name__)

DEVICE_FAILURES_BEFORE_DEATH = 3
"""Batches in a row that fail whole on the device before the worker gives up: a CUDA context does not recover."""
GROW_AFTER_BATCHES = 64
"""Clean batches after which a budget that a device error shrank is doubled again, up to the configured one."""
CLOSE_S = 5.0
"""How long `close` waits for the batch that is running: a device that hangs must not keep the process alive."""
WORKER_DIED = "the scoring worker has died; the service is restarting"


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Admission limits over everything admitted and not yet answered."""

    max_pending_requests: int = 512
    max_pending_tokens: int = 1_000_000


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One scored batch, for metrics. `tokens` without padding; `padded_tokens` = longest x rows."""

    rows: int
    tokens: int
    padded_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Logits (items, labels) in request order, and the mean seconds an item spent waiting and being computed."""

    logits: FloatArray
    queue_s: float
    inference_s: float


@dataclass(eq=False, slots=True)
class Submission:
    """An admitted request: `future` resolves to `Scored` or raises. The rest is the batcher's own bookkeeping."""

    size: int
    open_tokens: int
    admitted_at: float
    future: Future[Scored] = field(default_factory=Future)
    ticket: Ticket[Encoded] | None = None
    open_items: int = 0
    logits: FloatArray | None = None
    queue_s: float = 0.0
    inference_s: float = 0.0

    def fill(self, row: Row, logits: FloatArray, done: Done) -> None:
        """Stores one item's logits and its share of the timings."""
        if self.logits is None:
            self.logits = np.empty((self.size, len(logits)), dtype=np.float32)
        self.logits[row.index] = logits
        self.queue_s += (done.started - self.admitted_at) / self.size
        self.inference_s += done.seconds / self.size
        self.open_items -= 1
        self.open_tokens -= row.length

    def resolve(self, outcome: Scored | RerankerError) -> None:
        """Answers the owner, unless it has just gone away."""
        if self.future.set_running_or_notify_cancel():
            if isinstance(outcome, Scored):
                self.future.set_result(outcome)
            else:
                self.future.set_exception(outcome)


class MicroBatcher:
    """Admits, batches and scores requests for one model. All public methods may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        budget: Budget | None = None,
        limits: QueueLimits | None = None,
        observe: Callable[[BatchReport], None] | None = None,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.limits = limits or QueueLimits()
        self.rate = ServiceRate()
        self._engine = engine
        self._observe = observe
        self._on_death = on_death
        self._configured = budget or Budget()
        self._queue: RequestQueue[Encoded] = RequestQueue(self._configured)
        self._clean_batches = 0
        self._changed = threading.Condition()
        self._pending: dict[Ticket[Encoded], Submission] = {}
        self._pending_tokens = 0
        self._running_tokens = 0
        self._running_since = 0.0
        self._prepared: tuple[Plan[Encoded], Batch | None] | None = None
        self._closing = False
        self._dead = False
        self._device_failures = 0
        self._attempt = Attempt(engine, self._still_wanted, self._shrink)
        self._threads = [
            threading.Thread(target=self._guard, args=(self._score_forever,), name="batch-score", daemon=True),
            threading.Thread(target=self._guard, args=(self._pad_forever,), name="batch-pad", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pending_requests(self) -> int:
        """Admitted requests that have no answer yet."""
        return len(self._pending)

    @property
    def pending_tokens(self) -> int:
        """Tokens of the admitted requests that are not scored yet."""
        return self._pending_tokens

    @property
    def budget(self) -> Budget:
        """Batch limits in force; smaller than configured after a device error."""
        return self._queue.budget

    @property
    def alive(self) -> bool:
        """Whether requests can still be scored."""
        return not self._dead

    def submit(self, rows: Sequence[Encoded], timeout_s: float | None = None) -> Submission:
        """Admits the whole request or none of it.

        Raises Overloaded or DeadlineUnreachable with the seconds after which a retry makes sense, PayloadTooLarge
        for a request that could never be admitted, Unavailable when the worker is gone or closing.
        """
        tokens = sum(map(len, rows))
        submission = Submission(len(rows), tokens, time.monotonic(), open_items=len(rows))
        if not rows:
            submission.resolve(Scored(np.empty((0, 0), dtype=np.float32), 0.0, 0.0))
            return submission
        with self._changed:
            self._admit(tokens, timeout_s)
            submission.ticket = self._queue.put(rows)
            self._pending[submission.ticket] = submission
            self._pending_tokens += tokens
            self._changed.notify_all()
        return submission

    def check_room(self, tokens: int, timeout_s: float | None, beside: tuple[int, int] = (0, 0)) -> None:
        """Raises what `submit` would for a request of about `tokens`, before it is tokenised.

        `beside`: requests and tokens that were let through earlier and are still being tokenised.
        """
        with self._changed:
            self._admit(tokens, timeout_s, *beside)

    def cancel(self, submission: Submission) -> None:
        """Forgets a request: its items that are not being computed never will be. No effect once answered."""
        with self._changed:
            self._drop(submission)
        submission.future.cancel()

    def abort(self, reason: str) -> None:
        """Answers everything that is pending with Unavailable; what is being computed finds nobody waiting."""
        with self._changed:
            orphans = list(self._pending.values())
            for submission in orphans:
                self._drop(submission)
        for submission in orphans:
            submission.resolve(Unavailable(reason))

    def close(self) -> None:
        """Scores what is admitted, then stops the threads. Later submissions raise Unavailable."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSE_S)

    # Admission. The lock is held.

    def _admit(self, tokens: int, timeout_s: float | None, other_requests: int = 0, other_tokens: int = 0) -> None:
        if self._dead:
            raise Unavailable(WORKER_DIED)
        if self._closing:
            raise Unavailable("the service is shutting down; send the request to another instance")
        if tokens > self.limits.max_pending_tokens:
            raise PayloadTooLarge(
                f"the request has {tokens} tokens, over the service's limit of {self.limits.max_pending_tokens} "
                "pending tokens; send fewer or shorter documents"
            )
        self._check_limits(len(self._pending) + other_requests, self._pending_tokens + other_tokens, tokens)
        if timeout_s is None or not self._pending:  # alone it is the best measurement of the rate that one can get
            return
        expected_s = self._expected_s(tokens)
        if expected_s > timeout_s:
            raise DeadlineUnreachable(
                f"the request would take about {expected_s:.2f} s, over its time limit of {timeout_s:.2f} s",
                retry_after_s=expected_s - timeout_s,
            )

    def _check_limits(self, requests: int, pending_tokens: int, tokens: int) -> None:
        limits = self.limits
        excess = pending_tokens + tokens - limits.max_pending_tokens
        if excess > 0:
            raise Overloaded(
                f"{pending_tokens} tokens are pending, the request has about {tokens} and the limit is "
                f"{limits.max_pending_tokens}",
                retry_after_s=self.rate.seconds_for(excess),
            )
        if requests >= limits.max_pending_requests:
            raise Overloaded(
                f"{requests} requests are pending and the limit is {limits.max_pending_requests}",
                retry_after_s=self.rate.seconds_for(pending_tokens // requests),
            )

    def _expected_s(self, tokens: int) -> float:
        """Seconds until a request of `tokens` that arrives now is answered, at the measured rate."""
        running_s = 0.0
        if self._running_tokens:
            elapsed_s = time.monotonic() - self._running_since
            running_s = max(0.0, self.rate.seconds_for(self._running_tokens) - elapsed_s)
        return running_s + self.rate.seconds_for(self._queue.tokens_before(tokens) + tokens)

    # The two threads.

    def _guard(self, target: Callable[[], None]) -> None:
        """Whatever ends a thread before `close`, nobody is left waiting."""
        try:
            target()
        except BaseException as error:
            self._die(error)

    def _score_forever(self) -> None:
        while (work := self._next_batch()) is not None:
            self._score(*work)

    def _next_batch(self) -> tuple[list[Row], Batch | None] | None:
        with self._changed:
            self._running_tokens = 0
            self._changed.wait_for(lambda: self._queue.waiting_items or self._closing or self._dead)
            prepared, self._prepared = self._prepared, None
            if prepared is None or self._queue.is_stale(prepared[0]):
                plan = self._queue.plan()
                if plan is None:
                    return None
                prepared = plan, None
            self._queue.commit(prepared[0])
            self._running_tokens, self._running_since = prepared[0].tokens, time.monotonic()
            self._changed.notify_all()
        return prepared[0].items, prepared[1]

    def _pad_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._dead or self._can_prepare())
                if self._closing or self._dead:
                    return
                plan = self._queue.plan()
            if plan is not None:
                batch = self._try_pad(plan)
                with self._changed:
                    self._prepared = plan, batch

    def _can_prepare(self) -> bool:
        if not self._running_tokens or not self._queue.waiting_items:
            return False
        return self._prepared is None or self._queue.is_stale(self._prepared[0])

    def _try_pad(self, plan: Plan[Encoded]) -> Batch | None:
        """None on failure: the scoring thread then pads again, where the failure finds its request."""
        try:
            return self._engine.pad([item.payload for item in plan.items])
        except Exception:
            return None

    def _score(self, items: list[Row], batch: Batch | None) -> None:
        """Scores one batch and answers every item in it, whatever the backend does."""
        lost = []
        scored = False
        for outcome in self._attempt.score(items, batch):
            if isinstance(outcome, Done):
                scored = True
                self._deliver(outcome)
            else:
                lost.append(outcome.error)
                self._fail(outcome)
        broken = lost and not scored and all(_is_broken_device(error) for error in lost)
        self._device_failures = self._device_failures + 1 if broken else 0
        if self._device_failures >= DEVICE_FAILURES_BEFORE_DEATH:
            raise lost[0]

    # Answers.

    def _deliver(self, done: Done) -> None:
        finished = []
        self.rate.add(done.tokens, done.seconds)
        with self._changed:
            self._grow()
            for row, logits in zip(done.items, done.logits, strict=True):
                submission = self._pending.get(row.ticket)
                if submission is None:
                    continue
                submission.fill(row, logits, done)
                self._pending_tokens -= row.length
                if not submission.open_items:
                    del self._pending[row.ticket]
                    finished.append(submission)
        for submission in finished:
            assert submission.logits is not None
            submission.resolve(Scored(submission.logits, submission.queue_s, submission.inference_s))
        if self._observe is not None:
            self._observe(BatchReport(len(done.items), done.tokens, done.padded_tokens, done.seconds))

    def _fail(self, failed: Failed) -> None:
        """Fails the one request that the item belongs to and drops the rest of it."""
        index, error = failed.item.index, failed.error
        with self._changed:
            submission = self._pending.get(failed.item.ticket)
            if submission is None:
                return
            self._drop(submission)
        log.error("item %d of a request failed: %s", index, error, exc_info=error)
        kind = type(error) if isinstance(error, BackendError) else BackendError
        reason = str(error) if isinstance(error, RerankerError) else f"the model failed with {type(error).__name__}"
        failure = kind(f"item {index}: {reason}", index)
        failure.__cause__ = error
        submission.resolve(failure)

    def _drop(self, submission: Submission) -> None:
        """Takes a request out of queue and books; the lock is held. No effect once it is out."""
        ticket = submission.ticket
        if ticket is not None and self._pending.pop(ticket, None) is not None:
            self._queue.cancel(ticket)
            self._pending_tokens -= submission.open_tokens

    def _still_wanted(self, items: Sequence[Row]) -> list[Row]:
        with self._changed:
            return [item for item in items if item.ticket in self._pending]

    def _shrink(self, padded_tokens: int) -> None:
        with self._changed:
            self._clean_batches = 0
            self._queue.budget = self._queue.budget.below(padded_tokens)

    def _grow(self) -> None:
        """A shortage passes: step by step back to the configured budget. The lock is held."""
        self._clean_batches += 1
        tokens = self._queue.budget.max_tokens
        if tokens < self._configured.max_tokens and self._clean_batches >= GROW_AFTER_BATCHES:
            self._clean_batches = 0
            self._queue.budget = replace(self._configured, max_tokens=min(2 * tokens, self._configured.max_tokens))

    def _die(self, error: BaseException) -> None:
        with self._changed:
            self._dead = True
            self._changed.notify_all()
        log.critical("the scoring worker died: %r", error, exc_info=error)
        self.abort(WORKER_DIED)
        if self._on_death is not None:
            self._on_death(error)


def _is_broken_device(error: Exception) -> bool:
    return isinstance(error, DeviceError) and not isinstance(error, BackendOutOfMemory)
