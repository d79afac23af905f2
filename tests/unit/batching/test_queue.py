"""The queue policy, without threads and without a clock."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.batching.queue import OLDEST_SHARE, Plan, RequestQueue, Ticket
from app.model.bucketing import Budget, cut_batches

LENGTHS = st.lists(st.integers(1, 120), min_size=1, max_size=25)
BUDGETS = st.builds(Budget, st.integers(1, 600), st.integers(1, 16), st.sampled_from([0.0, 0.5, 0.8, 1.0]))


class Row:
    """A payload of a given length that can be watched for being freed."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


def rows(*lengths: int) -> list[Row]:
    return [Row(length) for length in lengths]


def drain(queue: RequestQueue[Row]) -> list[Plan[Row]]:
    """All batches, as a worker would take them with nothing else arriving."""
    plans = []
    while (plan := queue.plan()) is not None:
        queue.commit(plan)
        plans.append(plan)
    return plans


class QueueMachine(RuleBasedStateMachine):
    """Random arrivals, batches and cancellations against a model of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: RequestQueue[Row] | None = None
        self.lengths: dict[Ticket[Row], list[int]] = {}
        self.seen: dict[Ticket[Row], list[int]] = {}
        self.batches_since: dict[Ticket[Row], int] = {}
        self.allowance: dict[Ticket[Row], int] = {}

    @precondition(lambda self: self.queue is None)
    @rule(budget=BUDGETS)
    def start(self, budget: Budget) -> None:
        self.queue = RequestQueue(budget)

    @precondition(lambda self: self.queue is not None)
    @rule(lengths=LENGTHS)
    def put(self, lengths: list[int]) -> None:
        assert self.queue is not None
        alone = len(cut_batches(lengths, self.queue.budget))
        ticket = self.queue.put(rows(*lengths))
        others = [other for other in self.lengths if other.waiting and other is not ticket]
        # Whoever even sharing finishes first may go first, and costs at most what it needs alone.
        ahead = [other for other in others if other.key < ticket.key]
        self.allowance[ticket] = alone + sum(self._alone(other) for other in ahead)
        for other in others:
            if other.key > ticket.key:
                self.allowance[other] += alone
        self.lengths[ticket], self.seen[ticket], self.batches_since[ticket] = lengths, [], 0

    def _alone(self, ticket: Ticket[Row]) -> int:
        assert self.queue is not None
        return len(cut_batches(self.lengths[ticket], self.queue.budget))

    @precondition(lambda self: self.queue is not None)
    @rule()
    def batch(self) -> None:
        assert self.queue is not None
        plan = self.queue.plan()
        assert (plan is None) == (self.queue.waiting_items == 0)
        if plan is None:
            return
        again = self.queue.plan()
        assert again is not None
        assert again.items == plan.items, "planning must change nothing"
        self._check_budget(plan)
        waited = [ticket for ticket in self.lengths if ticket.waiting]
        self.queue.commit(plan)
        for ticket in waited:
            self.batches_since[ticket] += 1
            with_turns = (self.allowance[ticket] + 1) * OLDEST_SHARE / (OLDEST_SHARE - 1) + 1
            assert self.batches_since[ticket] <= with_turns, "the fairness bound is broken"
        for item in plan.items:
            assert item.index not in self.seen[item.ticket], "an item left the queue twice"
            self.seen[item.ticket].append(item.index)
            assert item.length == self.lengths[item.ticket][item.index], "an answer would reach the wrong place"

    def _check_budget(self, plan: Plan[Row]) -> None:
        assert self.queue is not None
        budget, longest = self.queue.budget, max(item.length for item in plan.items)
        assert len(plan.items) <= budget.max_rows
        assert longest * len(plan.items) <= budget.max_tokens or len(plan.items) == 1
        assert min(item.length for item in plan.items) >= budget.min_fill * longest

    @precondition(lambda self: any(ticket.waiting for ticket in self.lengths))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        assert self.queue is not None
        ticket = data.draw(st.sampled_from([ticket for ticket in self.lengths if ticket.waiting]))
        waiting, before = ticket.waiting, self.queue.waiting_items
        assert self.queue.cancel(ticket) == waiting
        assert self.queue.waiting_items == before - waiting
        assert self.queue.cancel(ticket) == 0
        del self.lengths[ticket]
        self.seen[ticket] = []

    @invariant()
    def counters_match_the_model(self) -> None:
        if self.queue is None:
            return
        waiting = {t: len(lengths) - len(self.seen[t]) for t, lengths in self.lengths.items()}
        assert self.queue.waiting_items == sum(waiting.values())
        assert self.queue.waiting_requests == sum(count > 0 for count in waiting.values())
        assert self.queue.waiting_tokens == sum(
            length for t, ls in self.lengths.items() for i, length in enumerate(ls) if i not in self.seen[t]
        )


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(LENGTHS, min_size=1, max_size=8), BUDGETS)
def test_every_item_leaves_exactly_once(requests: list[list[int]], budget: Budget) -> None:
    queue: RequestQueue[Row] = RequestQueue(budget)
    tickets = [queue.put(rows(*lengths)) for lengths in requests]
    left = [(item.ticket, item.index) for plan in drain(queue) for item in plan.items]
    expected = [(ticket, i) for ticket, ls in zip(tickets, requests, strict=True) for i in range(len(ls))]
    assert sorted(left, key=lambda x: (x[0].number, x[1])) == expected
    assert queue.plan() is None


def test_ten_documents_behind_two_thousand_go_next() -> None:
    """The small request needs the batches that it would need alone, and at most one goes to the large one between."""
    queue: RequestQueue[Row] = RequestQueue(Budget(1024, 256, 0.5))
    queue.put(rows(*(20 + i % 140 for i in range(2000))))
    for _ in range(3):
        plan = queue.plan()
        assert plan is not None
        queue.commit(plan)
    lengths = [30, 45, 60, 75, 80, 84, 90, 100, 120, 157]
    small = queue.put(rows(*lengths))
    batches = 0
    while small.waiting:
        plan = queue.plan()
        assert plan is not None
        queue.commit(plan)
        batches += 1
    assert batches <= len(cut_batches(lengths, queue.budget)) + 1


@pytest.mark.parametrize("clients", [1, 4])
def test_a_long_request_is_not_starved_by_clients_that_never_pause(clients: int) -> None:
    """Each client sends its next short request as soon as the last is scored; the long one still gets its share."""
    queue: RequestQueue[Row] = RequestQueue(Budget(100, 10, 0.5))
    long = queue.put(rows(*[10] * 200))
    short = [queue.put(rows(*[10] * 10)) for _ in range(clients)]
    batches = 0
    while long.waiting:
        short = [ticket if ticket.waiting else queue.put(rows(*[10] * 10)) for ticket in short]
        plan = queue.plan()
        assert plan is not None
        queue.commit(plan)
        batches += 1
        assert batches <= 20 * OLDEST_SHARE + 1, "20 batches are its own work"


def test_the_oldest_request_gets_no_turn_for_the_work_that_it_has_had_anyway() -> None:
    """Its rows that fill up the batches of short requests count towards its share, so these keep the lead."""
    queue: RequestQueue[Row] = RequestQueue(Budget(100, 10, 0.5))
    long = queue.put(rows(*[10] * 400))
    for _ in range(10 * OLDEST_SHARE):
        short = queue.put(rows(10, 10, 10))
        plan = queue.plan()
        assert plan is not None
        assert plan.items[0].ticket is short
        assert sum(item.ticket is long for item in plan.items) == 2, "filled to the half"
        queue.commit(plan)


def test_in_overload_every_request_leaves_in_the_end() -> None:
    """Twice as much arrives as leaves, for a while; the first request does not wait for the flood to end."""
    queue: RequestQueue[Row] = RequestQueue(Budget(100, 10, 0.5))
    first = queue.put(rows(*[10] * 100))
    for _ in range(10 * OLDEST_SHARE + 1):
        queue.put(rows(*[10] * 20))
        plan = queue.plan()
        assert plan is not None
        queue.commit(plan)
    assert first.waiting == 0


def test_a_batch_is_filled_to_the_half_with_the_closest_lengths_of_other_requests() -> None:
    queue: RequestQueue[Row] = RequestQueue(Budget(600, 10, 0.5))
    queue.put(rows(100))
    queue.put(rows(98, 60, 40, 120, 99, 100))
    plan = queue.plan()
    assert plan is not None
    assert [item.length for item in plan.items] == [100, 100, 99]
    assert plan.full


def test_a_request_fills_its_own_batches_whole() -> None:
    queue: RequestQueue[Row] = RequestQueue(Budget(600, 10, 0.5))
    queue.put(rows(*[100] * 8))
    queue.put(rows(*[100] * 9))
    plan = queue.plan()
    assert plan is not None
    assert [item.index for item in plan.items] == list(range(6))


def test_a_row_over_the_budget_goes_alone() -> None:
    queue: RequestQueue[Row] = RequestQueue(Budget(50, 10, 0.0))
    queue.put(rows(200, 10))
    assert [[item.length for item in plan.items] for plan in drain(queue)] == [[200], [10]]


class TestStaleness:
    """A prepared batch is formed anew only when that would do better."""

    @pytest.fixture
    def queue(self) -> RequestQueue[Row]:
        return RequestQueue(Budget(100, 4, 0.5))

    @staticmethod
    def planned(queue: RequestQueue[Row]) -> Plan[Row]:
        plan = queue.plan()
        assert plan is not None
        return plan

    def test_nothing_happened(self, queue: RequestQueue[Row]) -> None:
        queue.put(rows(20, 20))
        assert not queue.is_stale(self.planned(queue))

    def test_an_arrival_can_join(self, queue: RequestQueue[Row]) -> None:
        queue.put(rows(20, 20))
        plan = self.planned(queue)
        queue.put(rows(20))
        assert queue.is_stale(plan)

    def test_an_arrival_cannot_join_a_full_batch(self, queue: RequestQueue[Row]) -> None:
        queue.put(rows(20, 20, 20, 20))
        plan = self.planned(queue)
        queue.put(rows(20, 20, 20, 20, 20))
        assert not queue.is_stale(plan)

    def test_an_arrival_overtakes(self, queue: RequestQueue[Row]) -> None:
        queue.put(rows(*[20] * 40))
        plan = self.planned(queue)
        queue.put(rows(20))
        assert queue.is_stale(plan)

    def test_a_planned_item_was_abandoned(self, queue: RequestQueue[Row]) -> None:
        ticket = queue.put(rows(20, 20))
        plan = self.planned(queue)
        queue.cancel(ticket)
        assert queue.is_stale(plan)


def test_tokens_before_counts_those_that_would_be_served_first() -> None:
    queue: RequestQueue[Row] = RequestQueue(Budget())
    queue.put(rows(*[10] * 100))
    queue.put(rows(10))
    assert queue.tokens_before(20) == 10
    assert queue.tokens_before(5000) == 1010


def test_abandoned_requests_do_not_pile_up_in_memory() -> None:
    """One request keeps waiting, so the queue is never empty, while thousands come and go."""
    queue: RequestQueue[Row] = RequestQueue(Budget(100, 4, 0.5))
    queue.put(rows(7))
    watched: list[weakref.ref[Any]] = []
    for _ in range(300):
        batch = rows(*[50] * 20)
        watched += [weakref.ref(row) for row in batch]
        queue.cancel(queue.put(batch))
    del batch
    gc.collect()
    assert sum(ref() is not None for ref in watched) <= 1100


def test_taking_an_item_twice_is_reported_as_a_bug() -> None:
    queue: RequestQueue[Row] = RequestQueue(Budget())
    queue.put(rows(5))
    plan = queue.plan()
    assert plan is not None
    queue.commit(plan)
    with pytest.raises(RuntimeError, match="bug"):
        queue.commit(plan)
