"""What the load generator is told and what it tells: plain values that travel as JSON between two processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PATIENCE_S = 90.0
"""Longer than the server's longest request: after that an answer counts as lost, and the generator as stuck."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one kind, taken from `bodies` in turn.

    Closed loop: `clients` of them, each sending its next request once it has the answer and has thought for a
    random time of `pause_s` on average. Open loop: Poisson arrivals at `rate_per_s`, whether or not earlier ones
    have been answered.
    """

    name: str
    bodies: Sequence[str]
    clients: int = 0
    pause_s: float = 0.0
    rate_per_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """All streams start together. Sending ends after `seconds`, or once each stream has sent `count` requests."""

    url: str
    streams: Sequence[Stream]
    seconds: float
    count: int = 1 << 60


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's fate. Times are seconds since the start; `due` is when an open loop wanted to send it.

    `status` 0 means that no answer came; `text` then says why, else it is the body. `echoed`: the answer carried
    the id of this very request.
    """

    stream: str
    item: int
    due: float
    sent: float
    done: float
    status: int
    echoed: bool
    text: str

    @property
    def latency_s(self) -> float:
        """Counted from when the request was due, so that a late client hides nothing."""
        return self.done - self.due


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run. `wall_s` is from the first request to the last answer; CPU is the generator's in that time."""

    wall_s: float
    cpu_s: float
    answers: list[Answer]

    def of(self, stream: str, *statuses: int) -> list[Answer]:
        """The answers to one stream, with the given statuses if any are given."""
        return [a for a in self.answers if a.stream == stream and (not statuses or a.status in statuses)]


def run(load: Load) -> Outcome:
    """Runs the generator in a process of its own, which ends by itself, and returns what it saw."""
    with tempfile.TemporaryDirectory() as directory:
        order, report = Path(directory) / "load.json", Path(directory) / "outcome.json"
        order.write_text(json.dumps(asdict(load)), encoding="utf-8")
        command = [sys.executable, "-m", "tests.benchmarks.generator", order, report]
        subprocess.run(command, check=True, timeout=load.seconds + 2 * PATIENCE_S)
        raw = json.loads(report.read_text(encoding="utf-8"))
    return Outcome(raw["wall_s"], raw["cpu_s"], [Answer(**answer) for answer in raw["answers"]])


def read_load(path: Path) -> Load:
    """The generator's side of `run`."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Load(**raw | {"streams": [Stream(**stream) for stream in raw["streams"]]})
