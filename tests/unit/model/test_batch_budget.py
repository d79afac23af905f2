"""The budget that a measurement settles on: fake GPUs with a clock that forwards turn, and a memory that fills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import BackendOutOfMemory
from app.model.batch_budget import GPU_BUDGETS, MEMORY_SHARE, UNGAUGED_BUDGET, is_measured, measure_budget
from app.model.cross_encoder import CrossEncoder
from app.model.types import Batch, FloatArray

PLENTY = 10_000_000


class Gpu:
    """Computes up to `width` tokens at once; a batch beyond `room` tokens runs out of memory."""

    name, device, source = "gpu", "cuda", "model.safetensors"

    def __init__(self, width: int, room: int = PLENTY) -> None:
        self.width, self.room = width, room
        self.now, self.largest = 0.0, 0

    def forward(self, batch: Batch) -> FloatArray:
        tokens = int(batch["input_ids"].size)
        if tokens > self.room:
            raise BackendOutOfMemory("no room")
        self.largest = max(self.largest, tokens)
        self.now += max(tokens, self.width) * 1e-7
        return np.zeros((len(batch["input_ids"]), 1), dtype=np.float32)


class GaugedGpu(Gpu):
    """Holds a byte for each token of its largest batch, of `free` bytes."""

    def __init__(self, width: int, room: int = PLENTY, free: int = PLENTY) -> None:
        super().__init__(width, room)
        self.free = free

    released = False

    def free_memory_bytes(self) -> int:
        return self.free - self.largest

    def release_memory(self) -> None:
        self.released = True


def measured(model_dir: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch, max_rows: int = 256) -> int:
    monkeypatch.setattr("app.model.measuring.compare.__defaults__", (lambda: gpu.now,))
    plain = CrossEncoder.load(model_dir)
    figures = measure_budget(CrossEncoder(plain.artifact, plain.tokenizer, gpu, plain.options), max_rows)
    assert figures["complete"]
    return int(figures["max_batch_tokens"])


@pytest.mark.parametrize("width", GPU_BUDGETS)
def test_the_smallest_budget_that_fills_the_gpu(
    reranker_dir: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """What is above it costs latency only."""
    assert measured(reranker_dir, GaugedGpu(width), monkeypatch) == width


@pytest.mark.parametrize(("room", "expected"), [(3000, 4096), (4096, 4096), (20_000, 16384)])
def test_out_of_memory_ends_the_search(
    reranker_dir: Path, monkeypatch: pytest.MonkeyPatch, room: int, expected: int
) -> None:
    """The one before is taken. Where none fits, the batcher lowers the smallest itself."""
    assert measured(reranker_dir, GaugedGpu(65536, room), monkeypatch) == expected


@pytest.mark.parametrize(("free", "expected"), [(16384, 8192), (32768, 16384), (50_000, 16384)])
def test_a_share_of_the_memory_is_left_to_others(
    reranker_dir: Path, monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    """A budget that is expected to take more is not even tried."""
    gpu = GaugedGpu(65536, free=free)
    assert measured(reranker_dir, gpu, monkeypatch) == expected == gpu.largest
    assert gpu.largest <= MEMORY_SHARE * free
    assert gpu.released


def test_without_a_gauge_little_is_dared(reranker_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(65536)
    assert measured(reranker_dir, gpu, monkeypatch) == UNGAUGED_BUDGET == gpu.largest


def test_the_limit_on_rows_limits_what_a_larger_budget_brings(
    reranker_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of 256 tokens: with 32 of them at most, more than 8192 tokens bring nothing."""
    assert measured(reranker_dir, GaugedGpu(65536), monkeypatch, max_rows=32) == 8192


def test_where_budgets_are_known() -> None:
    assert [name for name in ("cpu", "cuda", "cuda:1", "coreml") if is_measured(name)] == ["cpu", "cuda", "cuda:1"]
