"""Small requests while large ones are always in flight."""

from __future__ import annotations

import time

from tests.benchmarks.bench import Bench, Result, Window, apply, latencies_ms, percentile, verdict
from tests.benchmarks.load import Stream
from tests.benchmarks.server import serving
from tests.benchmarks.texts import Request

SMALL, LARGE, LARGE_IN_FLIGHT = 10, 1000, 3
PAUSE_S = 0.1
"""Mean thinking time of the one client that sends small requests: they do not queue behind each other, so that what
is measured is how long they wait for the large ones."""
UTILISATION = 0.2
"""What small requests of random arrival alone keep the machine busy: here they do queue behind each other as well."""
LONGER = 10
"""Percentiles of a few hundred requests need more time than a mean does."""


def mixed(bench: Bench) -> Result:
    """The 99th percentile of one client's small requests, alone and under load."""
    return _mixed(bench, "mixed", poisson=False)


def mixed_poisson(bench: Bench) -> Result:
    """The same for small requests that arrive at random, whether or not earlier ones have been answered."""
    return _mixed(bench, "mixed-poisson", poisson=True)


def _mixed(bench: Bench, name: str, *, poisson: bool) -> Result:
    result = Result(name)
    small, large = bench.source.requests(40, SMALL), bench.source.requests(2, LARGE)
    expected = {"small": bench.expected(small), "large": bench.expected(large)}
    seconds = bench.seconds * LONGER
    bodies = [request.body for request in small]
    with serving(bench.model, bench.out / f"server-{name}.log") as server:
        if poisson:
            rate = UTILISATION * _small_per_s(bench, small)
            small_stream = Stream("small", bodies, rate_per_s=rate, seed=1)
            result.add("small requests sent", rate, "1/s")
        else:
            small_stream = Stream("small", bodies, clients=1, pause_s=PAUSE_S, seed=1)
        large_stream = Stream("large", [request.body for request in large], clients=LARGE_IN_FLIGHT)
        unloaded = apply(server, [small_stream], seconds)
        loaded = apply(server, [small_stream, large_stream], seconds)
        result.add("server RSS at the end", server.rss_mb, "MB")
    _report(bench, result, unloaded, loaded)
    result.judged(verdict(bench, [unloaded, loaded], expected), bench.tolerance)
    lost = sum(answer.status != 200 for window in (unloaded, loaded) for answer in window.outcome.answers)
    result.at_most("requests without a 200", lost, "answers", 0)
    return result


def _small_per_s(bench: Bench, small: list[Request]) -> float:
    began = time.perf_counter()
    bench.expected(small)
    return len(small) / (time.perf_counter() - began)


def _report(bench: Bench, result: Result, unloaded: Window, loaded: Window) -> None:
    alone, among = (latencies_ms(window.outcome.of("small", 200)) for window in (unloaded, loaded))
    result.series |= {"unloaded": alone, "among large requests": among}
    p99_alone, p99_among, batch_ms = percentile(alone, 99), percentile(among, 99), loaded.counts.batch_ms
    result.add("small requests, unloaded", len(alone), "answers")
    result.add("small requests, loaded", len(among), "answers")
    result.add("small p50 unloaded", percentile(alone, 50), "ms")
    result.add("small p50 loaded", percentile(among, 50), "ms")
    result.add("small p99 unloaded", p99_alone, "ms")
    result.add("batch time at the default budget", batch_ms, "ms")
    result.at_most("small p99 loaded", p99_among, "ms", 500)
    result.at_most("p99 added, in batch times", (p99_among - p99_alone) / batch_ms, "batches", 4)
    large = loaded.outcome.of("large", 200)
    result.add("large requests answered", len(large), "answers")
    result.add("large p50", percentile(latencies_ms(large), 50), "ms")
    result.add("padding waste", 100 * loaded.counts.waste, "%")
    result.add("foreign CPU share, loaded", loaded.foreign, "%")
    result.add("foreign CPU share, unloaded", unloaded.foreign, "%")
