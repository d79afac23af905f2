"""Threads that compute together: all of them, in step, and none is left waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.model.vnni.team import Team, Workspace


@pytest.fixture
def team() -> Iterator[Team]:
    with ThreadPoolExecutor(3) as pool:
        yield Team([Workspace() for _ in range(3)], pool)


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 12, 13, 100])
@pytest.mark.parametrize("multiple", [1, 6])
def test_spans_cover_everything_once(team: Team, count: int, multiple: int) -> None:
    spans = team.spans(count, multiple)
    assert [place for span in spans for place in span] == list(range(count))
    assert len(spans) == 3
    assert all(span.start % multiple == 0 for span in spans if span)


def test_members_wait_for_each_other(team: Team) -> None:
    steps: list[tuple[int, int]] = []

    def job(member: int, wait: Callable[[], object]) -> None:
        for step in range(20):
            steps.append((step, member))
            wait()

    team.run(job)
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)
    assert len(set(steps)) == 60


@pytest.mark.parametrize("member", [0, 1, 2])
def test_an_error_of_one_ends_all(team: Team, member: int) -> None:
    """With that error, and the next run is not disturbed."""

    def job(own: int, wait: Callable[[], object]) -> None:
        wait()
        if own == member:
            raise MemoryError("no more")
        wait()

    with pytest.raises(MemoryError, match="no more"):
        team.run(job)
    done: list[int] = []
    team.run(lambda own, wait: done.append(own))
    assert sorted(done) == [0, 1, 2]


def test_one_alone_waits_for_nobody() -> None:
    done: list[int] = []

    def job(own: int, wait: Callable[[], object]) -> None:
        wait()
        done.append(own)

    Team([Workspace()]).run(job)
    assert done == [0]


def test_buffers_grow_and_stay() -> None:
    work = Workspace()
    small = work.line("a", 10)
    small[:] = 1
    assert work.line("a", 5).tolist() == [1] * 5
    assert work.floats("b", 3, 4).shape == (9, 4)
    assert len(work.line("a", 20)) == 20
