"""The service with one form beside the same form in a plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from tests.benchmarks.bench import Result, apply, latencies_ms, percentile
from tests.benchmarks.forms import Form
from tests.benchmarks.judge import judge
from tests.benchmarks.load import Stream
from tests.benchmarks.scoring_process import ENVIRONMENT, Scorer
from tests.benchmarks.server import serving
from tests.benchmarks.texts import Request

TEXTS, CLIENTS = "http", 8
TOLERANCE = {"fp32": 1e-5, "int16": 1e-5, "bf16": 1e-3, "int8": 0.05}
"""Of an answer to the same form's offline score: what shares a batch differs."""


@dataclass(frozen=True, slots=True)
class Served:
    """A form with its plain loop: `scorer` knows the same requests as TEXTS, `size` is the batch budget of both."""

    form: Form
    scorer: Scorer
    size: int
    directory: Path
    flags: Sequence[str]


def over_http(result: Result, served: Served, requests: Sequence[Request], rounds: int, out: Path) -> None:
    """Both in turns; every answer is compared with the plain loop's."""
    stream = Stream("scoring", [request.body for request in requests], clients=CLIENTS)
    flags = [*served.flags, "--max-batch-tokens", str(served.size)]
    ratios, windows = [], []
    with serving(str(served.directory), out / "server-scoring.log", flags, ENVIRONMENT) as server:
        for _ in range(rounds):
            alone = served.scorer.score(TEXTS, served.size)
            windows.append(apply(server, [stream], seconds=600, count=len(requests)))
            ratios.append(sum(alone.seconds) / windows[-1].outcome.wall_s)
    name, answers = served.form.name, [answer for window in windows for answer in window.outcome.answers]
    expected = {"scoring": [np.array(scores, dtype=np.float32) for scores in alone.scores]}
    verdict = judge(answers, expected, TOLERANCE[served.form.kind])
    result.at_least(f"HTTP / {name} alone, median", median(ratios), "ratio", 0.95)
    result.add(f"HTTP / {name} alone, lowest round", min(ratios), "ratio")
    for q in (50, 99):
        quantity = f"HTTP, {name}: {len(requests[0].documents)} documents, {CLIENTS} clients, p{q}"
        result.add(quantity, percentile(latencies_ms(answers), q), "ms")
    result.at_most(f"HTTP, {name}: wrong answers of {verdict.answers}", verdict.wrong, "answers", 0)
    result.add(f"HTTP, {name}: largest deviation from offline", verdict.largest, "score")
    result.add(f"HTTP, {name}: foreign CPU share, worst round", max(window.foreign for window in windows), "%")
