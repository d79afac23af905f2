"""Throughput at saturation against the same engine in a plain loop, in alternation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from app.model.types import FloatArray
from tests.benchmarks.bench import Bench, Result, Window, apply, verdict
from tests.benchmarks.load import Stream
from tests.benchmarks.server import Server, serving
from tests.benchmarks.texts import Request

DOCUMENTS, CLIENTS, ROUNDS = 100, 8, 4
READY_S, RSS_MB = 2.0, 400.0
"""Of the embedded model, after the first start on a machine: preparing the bench was one."""


def saturation(bench: Bench) -> Result:
    """The same requests through a plain loop and through the service, A B A B; medians."""
    result = Result("saturation")
    requests = bench.source.requests(8, DOCUMENTS)
    expected, once_s = plain_loop(bench, requests)
    requests *= max(1, round(bench.seconds / once_s))  # one round is to last about as long as was asked for
    pairs = len(requests) * DOCUMENTS
    plain: list[float] = []
    windows: list[Window] = []
    with serving(bench.model, bench.out / "server-saturation.log") as server:
        result.at_most("start to ready, measured before", server.ready_s, "s", READY_S)
        result.at_most("server RSS when ready", server.rss_mb, "MB", RSS_MB)
        for _ in range(ROUNDS):
            plain.append(pairs / plain_loop(bench, requests)[1])
            windows.append(through_service(server, requests))
        result.add("server RSS at the end", server.rss_mb, "MB")
    served = [pairs / window.outcome.wall_s for window in windows]
    _report(bench, result, plain, served, windows)
    result.judged(verdict(bench, windows, {"saturation": expected * (len(requests) // 8)}), bench.tolerance)
    return result


def plain_loop(bench: Bench, requests: Sequence[Request]) -> tuple[list[FloatArray], float]:
    """Scores and seconds of tokenise + forward + activate, request after request."""
    began = time.perf_counter()
    scores = bench.expected(requests)
    return scores, time.perf_counter() - began


def through_service(server: Server, requests: Sequence[Request]) -> Window:
    """The same work over HTTP: a fixed number of requests, so that start and end of the run count as well."""
    stream = Stream("saturation", [request.body for request in requests], clients=CLIENTS)
    return apply(server, [stream], seconds=600, count=len(requests))


def _report(bench: Bench, result: Result, plain: list[float], served: list[float], windows: list[Window]) -> None:
    result.series |= {"plain loop": plain, "service": served}
    result.add("plain loop", median(plain), "pairs/s")
    result.add("service", median(served), "pairs/s")
    ratios = [over / alone for over, alone in zip(served, plain, strict=True)]
    result.at_least("service / plain loop", median(ratios), "ratio", 0.90 if bench.is_int8 else 0.95)
    result.add("lowest ratio of a round", min(ratios), "ratio")
    result.add("load generator's CPU share of all cores", median(w.generator_share for w in windows), "%")
    result.add("server's CPU share", median(w.server_share for w in windows), "%")
    result.add("foreign CPU share, worst round", max(w.foreign for w in windows), "%")
    counts = [window.counts for window in windows]
    result.add("padding waste", 100 * median(count.waste for count in counts), "%")
    result.add("rows per batch", median(count.rows / count.batches for count in counts), "rows")
    result.add("batch time", median(count.batch_ms for count in counts), "ms")
