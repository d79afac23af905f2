"""When a bucket is captured, replayed and given up: with a capture that records nothing but the calls."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from app.model.backends.cuda_graphs import EAGER_RUNS, Graphs, Score
from app.model.packed.buckets import Bucket

SMALL, MIDDLE, LARGE = (Bucket(64 * n, n, 16) for n in (1, 2, 3))


class FakeCapture:
    """Answers from a static buffer, as a graph does; `off_by` makes replays wrong, `error` makes captures fail."""

    def __init__(self, error: Exception | None = None, off_by: float = 0.0) -> None:
        self.captured: list[int] = []
        self.replays = 0
        self.error, self.off_by = error, off_by

    def __call__(self, score: Score, inputs: Tensor) -> Score:
        if self.error is not None:
            raise self.error
        static = inputs.clone()
        self.captured.append(len(inputs))
        answer = score(static)

        def replay(inputs: Tensor) -> Tensor:
            static.copy_(inputs)
            answer.copy_(score(static) + self.off_by)
            self.replays += 1
            return answer

        return replay


class Eager:
    """Scores by summing, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, inputs: Tensor, bucket: Bucket) -> Tensor:
        self.calls += 1
        return inputs.sum().float().expand(bucket.rows, 1).clone()


def inputs_of(bucket: Bucket, value: int) -> Tensor:
    return torch.full((2 * bucket.tokens + bucket.rows + 1,), value)


def use(graphs: Graphs, bucket: Bucket, times: int = EAGER_RUNS + 1) -> None:
    """Scores different inputs of a bucket, each of which must get its own answer."""
    for value in range(times):
        inputs = inputs_of(bucket, value)
        assert graphs(inputs, bucket).tolist() == [[float(inputs.sum())]] * bucket.rows


def test_a_frequent_bucket_is_captured_and_then_replayed() -> None:
    """Rare ones are not worth it."""
    capture = FakeCapture()
    graphs = Graphs(Eager(), capture)
    use(graphs, SMALL, EAGER_RUNS)
    assert capture.captured == []
    use(graphs, SMALL, 1)
    assert len(capture.captured) == 1
    checked = capture.replays
    use(graphs, SMALL, 10)
    assert len(capture.captured) == 1
    assert capture.replays == checked + 10


def test_the_least_recently_used_graph_gives_way() -> None:
    """And is captured again at its next use."""
    capture = FakeCapture()
    graphs = Graphs(Eager(), capture, most=2)
    use(graphs, SMALL)
    use(graphs, MIDDLE)
    use(graphs, SMALL, 1)
    use(graphs, LARGE)
    assert len(capture.captured) == 3
    use(graphs, SMALL, 1)
    assert len(capture.captured) == 3, "it was used after the middle one"
    use(graphs, MIDDLE, 1)
    assert capture.captured[3:] == [len(inputs_of(MIDDLE, 0))]


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (
            FakeCapture(error=RuntimeError("not permitted\nwhen stream is capturing")),
            "not permitted",
        ),
        (FakeCapture(off_by=100.0), "a replay gave other scores"),
    ],
)
def test_what_cannot_be_captured_runs_without_graphs(
    capture: FakeCapture, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All answers stay right, it is said once, and nothing is tried again."""
    graphs = Graphs(Eager(), capture)
    use(graphs, SMALL, 10)
    use(graphs, LARGE, 10)
    assert not graphs.on
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert reason in caplog.text
    assert len(capture.captured) <= 1


def test_a_failure_of_the_pass_itself_is_not_hidden() -> None:
    """It is the batch's, not the graph's."""

    def fail(inputs: Tensor, bucket: Bucket) -> Tensor:
        raise IndexError("a token id outside the table")

    with pytest.raises(IndexError):
        Graphs(fail, FakeCapture())(inputs_of(SMALL, 0), SMALL)
