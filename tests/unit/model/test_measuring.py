"""Timing by a clock that the test turns."""

from __future__ import annotations

import pytest

from app.model.measuring import ROUNDS, Run, compare, first_near_best, smallest_near_best


class Clock:
    """Time passes only in `spend`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, *seconds: float, tokens: int = 100) -> Run:
        """Takes these seconds in turn, the last of them from then on."""
        left = list(seconds)

        def call() -> None:
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return Run(tokens, call)


def test_runs_take_turns_and_the_best_timing_counts() -> None:
    clock = Clock()
    timing = compare([clock.run("a", 9, 1, 2), clock.run("b", 2)], 1000, clock)
    assert "".join(clock.order) == "ab" * ROUNDS
    assert timing.rates == [100.0, 50.0]
    assert timing.counts == [ROUNDS, ROUNDS]


def test_nothing_is_started_that_would_end_too_late() -> None:
    """The larger one is expected to take ten times as long; time is left for the smaller ones."""
    clock = Clock()
    timing = compare([clock.run("a", 1), clock.run("b", 10, tokens=1000), clock.run("c", 1)], 6, clock)
    assert clock.now <= 6
    assert timing.counts == [3, 0, 3]
    assert timing.rates[1] == 0.0


def test_the_first_is_timed_however_little_time_there_is() -> None:
    clock = Clock()
    timing = compare([clock.run("a", 5), clock.run("b", 5)], 1, clock)
    assert (timing.rates, timing.counts) == ([20.0, 0.0], [1, 0])


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({256: 98, 512: 100, 1024: 101}, 256),
        ({256: 90, 512: 98, 1024: 101}, 512),
        ({256: 50, 512: 70, 1024: 100}, 1024),
        ({256: 100, 512: 80, 1024: 0}, 256),
        ({256: 100, 512: 0, 1024: 0}, None),
    ],
)
def test_the_smallest_size_near_the_best_is_taken(rates: dict[int, float], size: int | None) -> None:
    """And none where nothing was compared."""
    assert smallest_near_best(rates) == size


@pytest.mark.parametrize(("rates", "index"), [([100, 102], 0), ([100, 110], 1), ([0.0], 0), ([5.0, 0.0], 0)])
def test_the_first_wins_a_draw(rates: list[float], index: int) -> None:
    assert first_near_best(rates) == index
