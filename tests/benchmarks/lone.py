"""What the service adds to a lone request of 10 documents."""

from __future__ import annotations

import time
from statistics import median

from tests.benchmarks.bench import Bench, Result, Window, apply, latencies_ms, percentile, verdict
from tests.benchmarks.load import Stream
from tests.benchmarks.server import serving

DOCUMENTS, ITEMS, ROUNDS, WARM_UP = 10, 20, 5, 2


def lone(bench: Bench) -> Result:
    """Sequential requests and the engine alone on the same texts, in alternation; difference of the medians."""
    result = Result("lone")
    requests = bench.source.requests(ITEMS, DOCUMENTS)
    expected = bench.expected(requests)
    stream = Stream("lone", [request.body for request in requests], clients=1)
    alone: list[float] = []
    windows: list[Window] = []
    with serving(bench.model, bench.out / "server-lone.log") as server:
        for _ in range(ROUNDS):
            alone += _engine_alone_ms(bench, [request.pairs for request in requests])
            windows.append(apply(server, [stream], seconds=600, count=ITEMS))
    served = [ms for window in windows for ms in latencies_ms(window.outcome.answers)]
    result.series |= {"engine alone": alone, "service": served}
    result.add("engine alone, median", median(alone), "ms")
    result.add("service, median", median(served), "ms")
    result.at_most("median added by the service", median(served) - median(alone), "ms", 3)
    differences = [over - engine for over, engine in zip(served, alone, strict=True)]
    result.add("added per text, median", median(differences), "ms")
    result.add("service p99", percentile(served, 99), "ms")
    result.add("foreign CPU share, worst round", max(window.foreign for window in windows), "%")
    result.judged(verdict(bench, windows, {"lone": expected}), bench.tolerance)
    return result


def _engine_alone_ms(bench: Bench, texts: list[list[tuple[str, str]]]) -> list[float]:
    for pairs in texts[:WARM_UP]:
        bench.engine.predict(pairs, bench.budget)
    taken = []
    for pairs in texts:
        began = time.perf_counter()
        bench.engine.predict(pairs, bench.budget)
        taken.append(1e3 * (time.perf_counter() - began))
    return taken
