"""What every scenario is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder
from app.model.types import FloatArray
from tests.benchmarks.foreign import CORES, ForeignCpu
from tests.benchmarks.judge import Verdict, judge
from tests.benchmarks.load import Answer, Load, Outcome, Stream, run
from tests.benchmarks.server import Counts, Server
from tests.benchmarks.texts import Request, TextSource


@dataclass(frozen=True, slots=True)
class Bench:
    """The model under test, loaded offline as the server loads it: same graph, same runtime, same threads."""

    model: str
    engine: CrossEncoder
    budget: Budget
    source: TextSource
    seconds: float
    tolerance: float
    out: Path
    reference: Path
    """A trained model's PyTorch directory, for the comparison with other libraries."""
    data: Path | None = None
    """Evaluation sets in BEIR layout, by name."""

    @property
    def is_int8(self) -> bool:
        """Whether the graph is quantised: its bars differ, and its scores depend on what shares a batch."""
        return any(mark in self.engine.backend.source for mark in ("int8", "uint8", "quantized"))

    def expected(self, requests: Sequence[Request]) -> list[FloatArray]:
        """Offline scores of every request, in input order."""
        return [self.engine.predict(request.pairs, self.budget) for request in requests]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `passed` is None where there is no bar."""

    scenario: str
    quantity: str
    value: float
    unit: str
    bar: str = ""
    passed: bool | None = None


@dataclass(slots=True)
class Result:
    """A scenario's figures, and the series that its plot needs."""

    scenario: str
    figures: list[Figure] = field(default_factory=list)
    series: dict[str, list[float]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    """Markdown tables of its own, beside that of the figures."""

    def add(self, quantity: str, value: float, unit: str) -> None:
        """A figure without a bar."""
        self.figures.append(Figure(self.scenario, quantity, value, unit))

    def at_least(self, quantity: str, value: float, unit: str, bar: float) -> None:
        """A figure that passes from `bar` up."""
        self.figures.append(Figure(self.scenario, quantity, value, unit, f">= {bar:g}", value >= bar))

    def at_most(self, quantity: str, value: float, unit: str, bar: float) -> None:
        """A figure that passes up to `bar`."""
        self.figures.append(Figure(self.scenario, quantity, value, unit, f"<= {bar:g}", value <= bar))

    def judged(self, verdict: Verdict, tolerance: float) -> None:
        """Correctness under load."""
        self.add("answers compared", verdict.answers, "answers")
        self.add("scores compared", verdict.items, "scores")
        self.at_most("wrong answers", verdict.wrong, "answers", 0)
        self.at_most("largest deviation from offline", verdict.largest, "score", tolerance)


@dataclass(frozen=True, slots=True)
class Window:
    """One load and what it cost. `foreign` is the share of all cores, in percent, that other programs used."""

    outcome: Outcome
    counts: Counts
    server_cpu_s: float
    foreign: float

    @property
    def generator_share(self) -> float:
        """The load generator's share of all cores, in percent."""
        return 100 * self.outcome.cpu_s / (self.outcome.wall_s * CORES)

    @property
    def server_share(self) -> float:
        """The server's share of all cores, in percent."""
        return 100 * self.server_cpu_s / (self.outcome.wall_s * CORES)


Scenario = Callable[[Bench], Result]


def apply(server: Server, streams: Sequence[Stream], seconds: float, count: int = 1 << 60) -> Window:
    """Applies a load and measures its window. Foreign CPU use of more than a few percent spoils the figures."""
    counts, server_cpu, foreign = server.counts(), server.cpu_s(), ForeignCpu([server.process])
    outcome = run(Load(server.url, streams, seconds, count))
    return Window(outcome, server.counts().since(counts), server.cpu_s() - server_cpu, foreign.percent())


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile, not a number for no values."""
    return float(np.percentile(values, q)) if values else float("nan")


def latencies_ms(answers: Sequence[Answer]) -> list[float]:
    """Latencies in milliseconds."""
    return [1e3 * answer.latency_s for answer in answers]


def verdict(bench: Bench, windows: Sequence[Window], expected: Mapping[str, Sequence[FloatArray]]) -> Verdict:
    """Judges all 200 answers of several windows."""
    answers = (answer for window in windows for answer in window.outcome.answers)
    return judge((answer for answer in answers if answer.status == 200), expected, bench.tolerance)
