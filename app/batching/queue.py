"""The queue policy: who is admitted, who is next, and what shares a batch. Pure: no clock, no thread, no I/O.

Every batch is led by the request that even sharing would finish first (`fairness`): it takes that request's
longest waiting item and as many more of its items as fit. If that is less than half a batch, it is filled up to the
half with the items of other requests that are closest below in length, so that they cost little padding: beyond the
half a batch hardly gets more efficient, and the one that leads it would wait for the others' rows. A request therefore
needs no more batches than if it were alone, and it waits only for requests that even sharing would have finished
before it.

Even sharing alone would let a client that never pauses hold up a long request with its short ones, since each is
served ahead of its share. So the oldest request leads a batch whenever it has had a batch less than one part in
`OLDEST_SHARE` of the work: none waits for ever, and while it is served anyway, nobody pays for that guarantee.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from app.batching.fairness import VirtualClock
from app.model.bucketing import Budget

OLDEST_SHARE = 8
"""The oldest request gets at least one part in so many of the work, whoever else waits."""
COMPACT_AFTER = 1024
"""Spent entries that may lie in the length index, beyond as many as are live, before it is rebuilt."""


class Sized(Protocol):
    """A payload whose length is its token count."""

    def __len__(self) -> int: ...


Payload = TypeVar("Payload", bound=Sized)


@dataclass(eq=False, slots=True)
class Ticket(Generic[Payload]):
    """One admitted request. `items` are ordered longest first; `waiting` counts those not yet in a batch."""

    number: int
    finish: float
    items: list[Item[Payload]] = field(default_factory=list)
    cursor: int = 0
    waiting: int = 0
    waiting_tokens: int = 0

    @property
    def key(self) -> tuple[float, int]:
        """Service order."""
        return self.finish, self.number


@dataclass(eq=False, slots=True)
class Item(Generic[Payload]):
    """One row to score: position `index` of its request. `taken` once it is in a batch or abandoned."""

    ticket: Ticket[Payload]
    index: int
    payload: Payload
    taken: bool = False

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.payload)


@dataclass(frozen=True, slots=True)
class Plan(Generic[Payload]):
    """A batch as it would be formed now. Nothing has been taken from the queue yet."""

    items: list[Item[Payload]]
    full: bool
    """Whether later arrivals of other requests could not join."""

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return sum(item.length for item in self.items)


class RequestQueue(Generic[Payload]):
    """Requests wait here whole; batches leave. Not thread-safe: the caller holds a lock."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.waiting_items = 0
        self.waiting_tokens = 0
        self._clock = VirtualClock()
        self._order: list[tuple[tuple[float, int], Ticket[Payload]]] = []
        self._by_age: dict[int, Ticket[Payload]] = {}
        self._owed = 0.0
        self._by_length: dict[int, deque[Item[Payload]]] = {}
        self._spent = 0
        self._numbers = 0

    @property
    def waiting_requests(self) -> int:
        """Requests with at least one item that is not yet in a batch."""
        return len(self._order)

    def put(self, payloads: Sequence[Payload]) -> Ticket[Payload]:
        """Admits a request with at least one item."""
        self._numbers += 1
        tokens = sum(map(len, payloads))
        ticket: Ticket[Payload] = Ticket(self._numbers, self._clock.enter(tokens))
        items = [Item(ticket, index, payload) for index, payload in enumerate(payloads)]
        ticket.items = sorted(items, key=lambda item: (-item.length, item.index))
        ticket.waiting, ticket.waiting_tokens = len(items), tokens
        insort(self._order, (ticket.key, ticket), key=lambda entry: entry[0])
        self._by_age[ticket.number] = ticket
        for item in ticket.items:
            self._by_length.setdefault(item.length, deque()).append(item)
        self.waiting_items += len(items)
        self.waiting_tokens += tokens
        return ticket

    def plan(self) -> Plan[Payload] | None:
        """The next batch, or None if nobody waits. Changes nothing; `commit` takes it."""
        if not self._order:
            return None
        head = self._head()
        while head.items[head.cursor].taken:
            head.cursor += 1
        longest = head.items[head.cursor].length
        room, shortest = self.budget.rows_at(longest), self.budget.shortest_at(longest)
        chosen: list[Item[Payload]] = []
        for item in head.items[head.cursor :]:
            if len(chosen) == room or item.length < shortest:
                break
            if not item.taken:
                chosen.append(item)
        half = (room + 1) // 2
        if len(chosen) < half:
            for item in self._closest(longest, shortest):
                if item.ticket is not head:
                    chosen.append(item)
                    if len(chosen) == half:
                        break
        return Plan(chosen, full=len(chosen) >= half)

    def commit(self, plan: Plan[Payload]) -> None:
        """Takes the planned items out of the queue."""
        self._account(plan)
        for item in plan.items:
            self._take(item)
        self._clock.serve(plan.tokens)
        self._tidy()

    def is_stale(self, plan: Plan[Payload]) -> bool:
        """Whether planning again would do better: an item was abandoned, others can join, or another leads."""
        if any(item.taken for item in plan.items):
            return True
        if not plan.full and len(plan.items) < self.waiting_items:
            fresh = self.plan()
            return fresh is None or len(fresh.items) != len(plan.items) or fresh.items[0] is not plan.items[0]
        return self._head() is not plan.items[0].ticket

    def cancel(self, ticket: Ticket[Payload]) -> int:
        """Drops the request's items that are in no batch yet; how many there were."""
        dropped = [item for item in ticket.items if not item.taken]
        if dropped:
            self._clock.leave(ticket.finish)
            for item in dropped:
                self._take(item)
            self._tidy()
        return len(dropped)

    def tokens_before(self, tokens: int) -> int:
        """Waiting tokens that would be served before a request of `tokens` that arrives now."""
        finish = self._clock.finish_of(tokens)
        return sum(ticket.waiting_tokens for (key, ticket) in self._order if key[0] <= finish)

    def tickets(self) -> list[Ticket[Payload]]:
        """Requests that wait, next first."""
        return [ticket for _, ticket in self._order]

    def _head(self) -> Ticket[Payload]:
        """Who leads the next batch."""
        oldest = self._oldest()
        return oldest if oldest and self._owed >= self.budget.max_tokens else self._order[0][1]

    def _oldest(self) -> Ticket[Payload] | None:
        return next(iter(self._by_age.values()), None)

    def _account(self, plan: Plan[Payload]) -> None:
        """Keeps the books of what the oldest request has not had of its share."""
        oldest = self._oldest()
        had = sum(item.length for item in plan.items if item.ticket is oldest)
        work = min(plan.tokens, self.budget.max_tokens)  # one over-long row is one batch, not several
        self._owed = max(0.0, self._owed + work / OLDEST_SHARE - had)

    def _closest(self, longest: int, shortest: float) -> Iterator[Item[Payload]]:
        """Waiting items of `longest` tokens, then of one fewer, and so on; in order of arrival within a length."""
        length = longest
        while length >= max(shortest, 1):
            bucket = self._by_length.get(length, ())
            while bucket and bucket[0].taken:
                bucket.popleft()
                self._spent -= 1
            yield from (item for item in bucket if not item.taken)
            length -= 1

    def _take(self, item: Item[Payload]) -> None:
        if item.taken:
            raise RuntimeError("bug: an item was taken twice")
        item.taken = True
        ticket, length = item.ticket, item.length
        ticket.waiting -= 1
        ticket.waiting_tokens -= length
        self.waiting_items -= 1
        self.waiting_tokens -= length
        self._spent += 1
        if ticket.waiting == 0:
            self._order.remove((ticket.key, ticket))
            if ticket is self._oldest():
                self._owed = 0.0
            del self._by_age[ticket.number]

    def _tidy(self) -> None:
        if not self._order:
            self._owed = 0.0
            self._clock.reset()
            self._by_length.clear()
            self._spent = 0
        elif self._spent > self.waiting_items + COMPACT_AFTER:
            live = {length: deque(i for i in bucket if not i.taken) for length, bucket in self._by_length.items()}
            self._by_length = {length: bucket for length, bucket in live.items() if bucket}
            self._spent = 0
