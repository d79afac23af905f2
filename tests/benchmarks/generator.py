"""The load generator: `python -m tests.benchmarks.generator LOAD OUTCOME`, a process of its own on loopback.

It parses no answer while it measures: bodies are kept as they came and judged by whoever started it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

import httpx
import numpy as np
import uvloop

from tests.benchmarks.load import PATIENCE_S, Answer, Load, Stream, read_load

HEADERS = {"content-type": "application/json", "accept": "application/json"}


class Generator:
    """One run of one load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answers: list[Answer] = []
        self._numbers = itertools.count()
        self._began = 0.0

    async def run(self) -> list[Answer]:
        """All answers, in the order in which they came."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(timeout=PATIENCE_S, limits=limits, trust_env=False) as client:
            await client.get(f"{self._load.url}/health")  # what the first request costs is no matter of the server
            self._began = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for stream in self._load.streams:
                    if stream.rate_per_s:
                        tasks.create_task(self._open(client, stream))
                    items = itertools.islice(itertools.cycle(range(len(stream.bodies))), self._load.count)
                    for _ in range(stream.clients):
                        tasks.create_task(self._closed(client, stream, items))
        return self._answers

    async def _closed(self, client: httpx.AsyncClient, stream: Stream, items: itertools.islice[int]) -> None:
        rng = np.random.default_rng(stream.seed)
        for item in items:
            if stream.pause_s:
                await asyncio.sleep(rng.uniform(0, 2 * stream.pause_s))
            now = self._now()
            if now >= self._load.seconds:
                return
            await self._send(client, stream, item, now)

    async def _open(self, client: httpx.AsyncClient, stream: Stream) -> None:
        rng = np.random.default_rng(stream.seed)
        due = 0.0
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._load.count):
                due += rng.exponential(1 / stream.rate_per_s)
                if due >= self._load.seconds:
                    return
                await asyncio.sleep(max(0.0, due - self._now()))
                tasks.create_task(self._send(client, stream, number % len(stream.bodies), due))

    async def _send(self, client: httpx.AsyncClient, stream: Stream, item: int, due: float) -> None:
        identity = f"bench-{next(self._numbers)}"
        sent = self._now()
        try:
            headers = HEADERS | {"x-request-id": identity}
            response = await client.post(f"{self._load.url}/rerank", content=stream.bodies[item], headers=headers)
        except httpx.HTTPError as error:
            status, echoed, text = 0, False, f"{type(error).__name__}: {error}"
        else:
            status, text = response.status_code, response.text
            echoed = response.headers.get("x-request-id") == identity
        self._answers.append(Answer(stream.name, item, due, sent, self._now(), status, echoed, text))

    def _now(self) -> float:
        return time.perf_counter() - self._began


def main() -> None:
    """Reads the load, applies it, writes the outcome."""
    load = read_load(Path(sys.argv[1]))
    gc.disable()  # bounded time, ample memory: no pause of the client may pass for one of the server
    before = _cpu_s()
    answers = uvloop.run(Generator(load).run())
    cpu_s, wall_s = _cpu_s() - before, max((answer.done for answer in answers), default=0.0)
    outcome = {"cpu_s": cpu_s, "wall_s": wall_s, "answers": [asdict(answer) for answer in answers]}
    Path(sys.argv[2]).write_text(json.dumps(outcome), encoding="utf-8")


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
