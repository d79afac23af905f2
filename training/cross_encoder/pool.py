"""Scoring and embedding in several processes: token ids go out in balanced chunks, numbers come back."""

from __future__ import annotations

import copy
import itertools
import logging
import math
import pickle
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from numpy.typing import NDArray
from torch import Tensor

from app.model.cpus import available_cpus
from app.model.types import Encoded

Pool = dict[str, Any]
Work = Callable[[Any, Any, Any], Tensor]
"""What a process does with the model, some rows and the caller's options: one row of numbers for each row."""
BAGGAGE = ("model_card_data", "loaded_card", "activation_fn")
"""Attributes that workers do not need and that may not be picklable."""
POLL_S = 1.0
CPU_WORKERS = 4
MAX_CHUNK = 5000
logger = logging.getLogger(__name__)


def logits_work(model: Any, rows: Sequence[Encoded], batch_size: int) -> Tensor:
    """Logits of a cross-encoder, shape (rows, labels)."""
    from training.cross_encoder.prediction import logits_of

    return logits_of(model, rows, batch_size)


def start_pool(model: Any, devices: Sequence[str | torch.device] | None = None, work: Work = logits_work) -> Pool:
    """Spawns one process per device: all accelerators by default, four CPU processes where there are none.

    The weights are shared, not copied per process; a model on an accelerator stays there and a CPU copy is shared.
    """
    targets = [str(device) for device in devices] if devices else default_devices()
    shared = _without_baggage(model)
    if model.device.type != "cpu":
        shared = copy.deepcopy(shared).to("cpu")
    shared.share_memory()
    context = mp.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    threads = max(1, available_cpus() // len(targets))
    processes = []
    for device in targets:
        process = context.Process(target=_work, args=(device, threads, shared, work, tasks, results), daemon=True)
        process.start()
        processes.append(process)
    return {
        "input": tasks,
        "output": results,
        "processes": processes,
        "lock": threading.Lock(),
        "calls": itertools.count(),
    }


def _without_baggage(model: Any) -> Any:
    """A view on the same weights without the baggage."""
    view = copy.copy(model)
    view.__dict__.update(dict.fromkeys(BAGGAGE))
    return view


def default_devices() -> list[str]:
    """Every CUDA or NPU device, else four times the CPU."""
    if torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    npu = getattr(torch, "npu", None)
    if npu is not None and npu.is_available():
        return [f"npu:{i}" for i in range(npu.device_count())]
    return ["cpu"] * CPU_WORKERS


def stop_pool(pool: Pool) -> None:
    """Ends the processes of a pool and closes its queues."""
    for process in pool["processes"]:
        process.terminate()
    for process in pool["processes"]:
        process.join()
        process.close()
    pool["input"].cancel_join_thread()
    pool["input"].close()
    pool["output"].close()


def logits_in_pool(
    pool: Pool, rows: Sequence[Encoded], num_labels: int, batch_size: int, chunk_size: int | None, progress: bool
) -> Tensor:
    """Logits (rows, labels), float32, on the CPU, in the order of `rows`. Re-raises what a worker raised."""
    out = torch.empty((len(rows), num_labels), dtype=torch.float32)
    for indices, logits in results_from_pool(pool, rows, batch_size, chunk_size, progress):
        out[indices] = torch.from_numpy(logits)
    return out


def results_from_pool(
    pool: Pool, rows: Sequence[Any], options: Any, chunk_size: int | None, progress: bool
) -> list[tuple[list[int], NDArray[Any]]]:
    """Indices of some rows with what the work gave for them, until all had their turn. Re-raises what it raised.

    Chunks are cut after sorting by length and the longest go out first, so that the processes end together.
    """
    from tqdm.auto import tqdm

    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    size = chunk_size or max(1, min(math.ceil(len(rows) / len(pool["processes"]) / 10), MAX_CHUNK))
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    results = []
    with pool["lock"]:  # the answers of two calls would mix in one queue
        call = next(pool["calls"])
        for number, chunk in enumerate(chunks):
            pool["input"].put((call, number, [rows[i] for i in chunk], options))
        for _ in tqdm(chunks, desc="Chunks", disable=not progress):
            number, answer = _next_answer(pool, call)
            if isinstance(answer, Exception):
                raise answer
            results.append((chunks[number], answer))
    return results


def _next_answer(pool: Pool, call: int) -> tuple[int, Any]:
    """The next answer to this call; those of a call that failed halfway are dropped."""
    while True:
        try:
            owner, number, answer = pool["output"].get(timeout=POLL_S)
        except queue.Empty:
            _require_alive(pool)
            continue
        if owner == call:
            return number, answer


def _require_alive(pool: Pool) -> None:
    dead = [process for process in pool["processes"] if not process.is_alive()]
    if dead:
        details = ", ".join(f"pid {process.pid} (exit code {process.exitcode})" for process in dead)
        raise RuntimeError(
            f"{len(dead)} worker process(es) of the pool died unexpectedly: {details}. Stop it and start a new one"
        )


def _work(device: str, threads: int, model: Any, work: Work, tasks: Any, results: Any) -> None:
    """Answers every chunk until the process is terminated: whoever waits gets numbers or the exception."""
    torch.set_num_threads(threads)
    model.to(device)
    while True:
        call, number, rows, options = tasks.get()
        try:
            answer: Any = _array(work(model, rows, options))
        except Exception as error:
            logger.exception("chunk %s failed on %s", number, device)
            answer = _picklable(error)
        results.put((call, number, answer))


def _array(values: Tensor) -> NDArray[Any]:
    """NumPy has no bfloat16."""
    return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).cpu())


def _picklable(error: Exception) -> Exception:
    """The error itself if it survives the queue, else one that carries its traceback as text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # bytes made on this very line
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
