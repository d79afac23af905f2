"""The other side of `scoring_worker`: starts it, tells it what to score, and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}
"""Threads that wait sleep, those of PyTorch too: the processes take turns on the same cores."""
STOP_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds and scores of each call of an order."""

    seconds: list[float]
    scores: list[list[float]]


class Scorer:
    """A form in a process of its own."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self.name = name
        self.process = psutil.Process(process.pid)
        self._pipes, self._log = process, log
        self._read()

    def score(self, texts: str, size: int) -> Answer:
        """Scores the texts of that name, every call alone. Raises RuntimeError with the end of the process's log."""
        assert self._pipes.stdin is not None
        print(json.dumps({"texts": texts, "size": size}), file=self._pipes.stdin, flush=True)
        return Answer(**self._read())

    def _read(self) -> Any:
        assert self._pipes.stdout is not None
        line = self._pipes.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: ended; see {self._log}:\n{self._log.read_text()[-2000:]}")
        return json.loads(line)


@contextmanager
def scorer(name: str, reference: Path, exported: Path, texts: Path) -> Iterator[Scorer]:
    """A loaded form that waits for orders; its log lies beside the file of texts."""
    log = texts.with_name(f"scorer-{name.replace(' ', '-')}.log")
    command = [sys.executable, "-m", "tests.benchmarks.scoring_worker", name, reference, exported, texts]
    with log.open("w") as sink:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": sink}
        process = subprocess.Popen(command, text=True, env=ENVIRONMENT, **pipes)  # type: ignore[call-overload]
    try:
        yield Scorer(name, process, log)
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
