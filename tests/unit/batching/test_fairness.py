"""The virtual clock orders requests as even sharing would finish them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.batching.fairness import VirtualClock


def processor_sharing(arrivals: list[tuple[float, float]]) -> list[float]:
    """Finish times of (arrival, size) jobs under exact processor sharing, by stepping from event to event."""
    left = {i: size for i, (_, size) in enumerate(arrivals)}
    finished: dict[int, float] = {}
    now = 0.0
    while len(finished) < len(arrivals):
        active = [i for i in left if i not in finished and arrivals[i][0] <= now]
        coming = [at for i, (at, _) in enumerate(arrivals) if at > now]
        if not active:
            now = min(coming)
            continue
        step = min(left[i] for i in active) * len(active)
        if coming:
            step = min(step, min(coming) - now)
        for i in active:
            left[i] -= step / len(active)
            if left[i] <= 1e-9:
                finished[i] = now + step
        now += step
    return [finished[i] for i in range(len(arrivals))]


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 400)), min_size=1, max_size=12))
def test_keys_order_requests_as_exact_processor_sharing_finishes_them(jobs: list[tuple[int, int]]) -> None:
    """Independent reference: an event-by-event simulation. The machine is busy from 0 on by construction."""
    jobs = sorted(jobs)
    jobs[0] = (0, jobs[0][1] + sum(size for _, size in jobs) + 600)  # keeps both systems busy until the last arrival
    clock, keys, now = VirtualClock(), [], 0
    for at, size in jobs:
        clock.serve(at - now)
        now = at
        keys.append(clock.enter(size))
    reference = processor_sharing([(float(at), float(size)) for at, size in jobs])
    for i in range(len(jobs)):
        for j in range(len(jobs)):
            if reference[i] < reference[j] - 1e-6:
                assert keys[i] < keys[j] + 1e-6


def test_equal_requests_leave_in_order_of_arrival() -> None:
    """A later request of the same size gets a later key once anything was served in between."""
    clock = VirtualClock()
    first = clock.enter(100)
    clock.serve(10)
    assert first < clock.enter(100)


def test_a_long_request_ages_until_short_ones_no_longer_overtake_it() -> None:
    """With one short request after another, the long one's key is reached after its own share of service."""
    clock = VirtualClock()
    long = clock.enter(1000)
    overtaken = 0
    while clock.enter(10) < long:
        clock.serve(20)
        overtaken += 1
    assert overtaken <= 100  # 100 short ones are as much work as the long one


def test_an_abandoned_request_takes_no_further_share() -> None:
    """With two sharers, 100 tokens move the clock by 50; with one left, by 100."""
    clock = VirtualClock()
    gone = clock.enter(1000)
    clock.enter(2000)
    clock.serve(100)
    assert clock.finish_of(0) == 50
    clock.leave(gone)
    clock.serve(100)
    assert clock.finish_of(0) == 150
