"""The server under test: the real process, started as a user would, watched from outside."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

START_LIMIT_S = 60.0
STOP_LIMIT_S = 40.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since start, from /metrics."""

    batches: float
    batch_s: float
    rows: float
    tokens: float
    padding: float

    def since(self, earlier: Counts) -> Counts:
        """What was added."""
        pairs = zip(_values(self), _values(earlier), strict=True)
        return Counts(*(now - before for now, before in pairs))

    @property
    def batch_ms(self) -> float:
        """Mean duration of a forward."""
        return 1e3 * self.batch_s / self.batches if self.batches else 0.0

    @property
    def waste(self) -> float:
        """Padding as a share of all computed tokens."""
        return self.padding / (self.tokens + self.padding) if self.tokens else 0.0


def _values(counts: Counts) -> tuple[float, ...]:
    return counts.batches, counts.batch_s, counts.rows, counts.tokens, counts.padding


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = psutil.Process(process.pid)
        self.port = port
        self.ready_s = 0.0

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def rss_mb(self) -> float:
        """Resident memory [MB = 10^6 bytes]."""
        return float(self.process.memory_info().rss) / 1e6

    def cpu_s(self) -> float:
        """CPU seconds of the process so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def counts(self) -> Counts:
        """What /metrics says now."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        names = ("batch_seconds_count", "batch_seconds_sum", "batch_rows_sum", "tokens_total", "padding_tokens_total")
        return Counts(*(sums[f"reranker_{name}"] for name in names))

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET; status 0 while nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except ConnectionError:
            return 0, ""
        finally:
            connection.close()


@contextmanager
def serving(
    model: str, log: Path, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server of `model` with default settings but for `flags`; stopped at the end, whatever happens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "--model", f"bench={model}", "--port", str(port), *flags]
    with log.open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(command, stderr=sink, stdout=sink, env=environment)
        try:
            server = Server(process, port)
            _await_ready(server, process, log)
            server.ready_s = time.perf_counter() - began
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.perf_counter() + START_LIMIT_S
    while server.get("/ready")[0] != 200:
        if process.poll() is not None or time.perf_counter() > deadline:
            raise RuntimeError(f"the server did not become ready; see {log}:\n{log.read_text()[-2000:]}")
        time.sleep(0.02)
