"""Four times more requests than the machine can serve: goodput, refusals, memory, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from tests.benchmarks.bench import Bench, Result, Window, apply, latencies_ms, percentile, verdict
from tests.benchmarks.load import Answer, Stream
from tests.benchmarks.server import serving

DOCUMENTS, CLIENTS, FACTOR, SECONDS = 10, 16, 4, 60.0
QUEUE_S = 3.0
"""How much work may wait. The limit in tokens follows from the rate that the engine alone reaches."""


def overload(bench: Bench) -> Result:
    """Capacity in a closed loop, then Poisson arrivals at four times that for a minute, on one server."""
    result = Result("overload")
    requests = bench.source.requests(60, DOCUMENTS)
    bodies = [request.body for request in requests]
    expected = bench.expected(requests)
    limit = _queue_tokens(bench, [request.pairs for request in requests])
    result.add("--max-pending-tokens", limit, "tokens")
    with serving(bench.model, bench.out / "server-overload.log", ["--max-pending-tokens", str(limit)]) as server:
        apply(server, [Stream("capacity", bodies, clients=CLIENTS)], bench.seconds / 2)
        rss = server.rss_mb
        seconds = 2 * bench.seconds
        measured = apply(server, [Stream("capacity", bodies, clients=CLIENTS)], seconds)
        capacity = len(_in_time(measured.outcome.answers, seconds)) / seconds
        stream = Stream("overload", bodies, rate_per_s=FACTOR * capacity, seed=2)
        window = apply(server, [stream], SECONDS)
        result.add("server RSS before", rss, "MB")
        result.at_most("server RSS after / before", server.rss_mb / rss, "ratio", 1.1)
        _report(result, window, capacity)
    result.judged(verdict(bench, [measured, window], {"capacity": expected, "overload": expected}), bench.tolerance)
    return result


def _queue_tokens(bench: Bench, texts: list[list[tuple[str, str]]]) -> int:
    """`QUEUE_S` of the engine's own work, in tokens."""
    options = bench.engine.options
    rows = [row for pairs in texts for row in bench.engine.tokenizer.encode_pairs(pairs, options)]
    began = time.perf_counter()
    bench.engine.logits(rows, bench.budget)
    return round(QUEUE_S * sum(map(len, rows)) / (time.perf_counter() - began))


def _in_time(answers: Sequence[Answer], seconds: float) -> list[Answer]:
    """Good answers that came while the load lasted; what drains afterwards is no part of a rate."""
    return [answer for answer in answers if answer.status == 200 and answer.done <= seconds]


def _report(result: Result, window: Window, capacity: float) -> None:
    answers = window.outcome.answers
    good = _in_time(answers, SECONDS)
    refused = latencies_ms([answer for answer in answers if answer.status in (429, 503)])
    goodput = len(good) / SECONDS
    result.series |= {
        "answers per second": np.histogram([a.done for a in good], bins=60, range=(0, SECONDS))[0].tolist(),
        "capacity": [capacity],
        "refusals": refused,
        "answers": latencies_ms(good),
    }
    result.add("capacity", capacity * DOCUMENTS, "pairs/s")
    result.add("offered", len(answers) / SECONDS * DOCUMENTS, "pairs/s")
    result.add("goodput", goodput * DOCUMENTS, "pairs/s")
    result.at_least("goodput / capacity", goodput / capacity, "ratio", 0.9)
    result.add("refusals", len(refused), "answers")
    result.add("refusal p50", percentile(refused, 50), "ms")
    result.at_most("refusal p99", percentile(refused, 99), "ms", 50)
    result.at_most("refusal max", max(refused, default=float("nan")), "ms", 250)
    result.add("answer p50", percentile(latencies_ms(good), 50), "ms")
    result.add("answer p99", percentile(latencies_ms(good), 99), "ms")
    result.at_most("lost answers", sum(a.status == 0 for a in answers), "answers", 0)
    result.at_most("other statuses", sum(a.status not in (0, 200, 429, 503) for a in answers), "answers", 0)
    result.add("load generator late by, p99", percentile([1e3 * (a.sent - a.due) for a in answers], 99), "ms")
    result.add("load generator's CPU share of all cores", window.generator_share, "%")
    result.add("foreign CPU share", window.foreign, "%")
    result.add("padding waste", 100 * window.counts.waste, "%")
