"""Starts the real service as a process and takes it down again."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
START_S = 30.0


@dataclass
class Server:
    """A running service. `lines` collects its log as parsed JSON."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=30, limits=httpx.Limits(max_connections=64))
    )

    def get(self, path: str) -> httpx.Response:
        return self.client.get(self.url + path)

    def rerank(self, documents: list[str], **body: Any) -> httpx.Response:
        return self.client.post(f"{self.url}/rerank", json={"query": "paris", "documents": documents, **body})

    def metric(self, name: str) -> float:
        """Sum of a metric's series."""
        lines = (line for line in self.get("/metrics").text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def logged(self, status: int) -> int:
        """How many rerank requests the log shows with this status."""
        return sum(line.get("status") == status and line.get("path") == "/rerank" for line in self.lines)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 20) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while self.get("/ready").status_code != 200:
            assert time.monotonic() < deadline, "never became ready"
            time.sleep(0.02)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app", "--port", "0", *arguments]


@contextmanager
def serving(*arguments: str, program: list[str] | None = None) -> Iterator[Server]:
    """A ready service on a free port; killed at the end if it still runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RERANKER_")}
    process = subprocess.Popen(
        [*(program or command()), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    server = Server(process)
    ports: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(server, ports), daemon=True)
    reader.start()
    try:
        server.url = ports.get(timeout=START_S)
        server.wait_ready()
        yield server
    finally:
        server.client.close()
        process.kill()
        process.wait()
        reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


def _read(server: Server, ports: queue.Queue[str]) -> None:
    assert server.process.stdout is not None
    for line in server.process.stdout:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"message": line}
        server.lines.append(entry)
        if "running on http" in entry["message"]:
            ports.put(entry["message"].split()[3])
