"""How many tokens a batch should hold on this machine: what a CPU's caches or a GPU's memory and width want."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from app.errors import BackendOutOfMemory
from app.model.backends import MemoryGauge
from app.model.bucketing import Budget
from app.model.contest import ENOUGH, sample_rows
from app.model.cross_encoder import CrossEncoder
from app.model.measuring import Run, compare, smallest_near_best
from app.model.types import Encoded

BUDGET_S = 0.8
"""Most time for comparing budgets."""
BUDGETS, ROW_TOKENS = (256, 512, 1024, 2048), 64
"""Batch budgets to choose from on a CPU [tokens], and the length of the rows that they are compared with: a passage
with its query."""
GPU_BUDGETS, GPU_ROW_TOKENS = (4096, 8192, 16384, 32768, 65536), 256
"""The same on a GPU: rows so long that no budget is cut down by the usual limit on rows."""
DEFAULT_BUDGET = 512
"""On a CPU, where the limit left time for a single measurement."""
MEMORY_SHARE = 0.5
"""Of the memory that is free before the first batch: longer rows and other models take some, too."""
UNGAUGED_BUDGET = 16384
"""The largest to try where the backend cannot tell what memory is free."""


def is_measured(device: str) -> bool:
    """Whether budgets for this device are known."""
    return device == "cpu" or device.startswith("cuda")


def measure_budget(model: CrossEncoder, max_rows: int) -> dict[str, Any]:
    """The smallest batch budget that costs next to no throughput, and what each of them gave [tokens/s].

    On a GPU only among those whose batches fit into its memory.
    """
    on_cpu = model.backend.device == "cpu"
    choice, length = (BUDGETS, ROW_TOKENS) if on_cpu else (GPU_BUDGETS, GPU_ROW_TOKENS)
    tokens = len(sample_rows(model, 1, length)[0])
    batches = {size: sample_rows(model, Budget(size, max_rows).rows_at(tokens), tokens) for size in choice}
    if not on_cpu:
        batches = fitting(model, batches)
    runs = [Run(sum(map(len, rows)), partial(_score, model, rows)) for rows in batches.values()]
    timing = compare(runs, BUDGET_S)
    if not on_cpu and isinstance(model.backend, MemoryGauge):
        model.backend.release_memory()  # other models may want what the largest batch took
    rates = dict(zip(batches, timing.rates, strict=True))
    return {
        "max_batch_tokens": smallest_near_best(rates) or (DEFAULT_BUDGET if on_cpu else GPU_BUDGETS[0]),
        "budget_tokens_per_s": {str(size): round(rate) for size, rate in rates.items()},
        "complete": all(count >= ENOUGH for count in timing.counts[:2]),  # the larger ones are for fast machines
    }


def fitting(model: CrossEncoder, batches: dict[int, list[Encoded]]) -> dict[int, list[Encoded]]:
    """Those of the `batches` by budget, smallest first, that a GPU's memory has room for.

    Each is scored once. The first to run out of memory, or to leave less than the share that others may need, ends
    it; so does one after which the next, with twice the tokens, is expected to.
    """
    gauge = model.backend if isinstance(model.backend, MemoryGauge) else None
    free = gauge.free_memory_bytes() if gauge else 0
    found: dict[int, list[Encoded]] = {}
    for size, rows in batches.items():
        if gauge is None and size > UNGAUGED_BUDGET:
            break
        try:
            _score(model, rows)
        except BackendOutOfMemory:
            break
        used = free - gauge.free_memory_bytes() if gauge else 0
        if used <= MEMORY_SHARE * free:
            found[size] = rows
        if 2 * used > MEMORY_SHARE * free:
            break
    return found


def _score(model: CrossEncoder, rows: Sequence[Encoded]) -> None:
    """Padding is part of what a batch costs."""
    model.forward(model.pad(rows))
