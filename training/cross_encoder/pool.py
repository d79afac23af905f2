"""Scoring in several processes: token ids go out in balanced chunks, logits come back."""

from __future__ import annotations

import copy
import itertools
import logging
import math
import pickle
import queue
import threading
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from app.model.cpus import available_cpus
from app.model.types import Encoded

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

Pool = dict[str, Any]
POLL_S = 1.0
CPU_WORKERS = 4
MAX_CHUNK = 5000
logger = logging.getLogger(__name__)


def start_pool(model: CrossEncoder, devices: Sequence[str | torch.device] | None = None) -> Pool:
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
        process = context.Process(target=_work, args=(device, threads, shared, tasks, results), daemon=True)
        process.start()
        processes.append(process)
    return {
        "input": tasks,
        "output": results,
        "processes": processes,
        "lock": threading.Lock(),
        "calls": itertools.count(),
    }


def _without_baggage(model: CrossEncoder) -> CrossEncoder:
    """A view on the same weights without what workers do not need and what may not be picklable."""
    view = copy.copy(model)
    view.__dict__.update(model_card_data=None, loaded_card=None, activation_fn=None)
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
    """Logits (rows, labels), float32, on the CPU, in the order of `rows`. Re-raises what a worker raised.

    Chunks are cut after sorting by length and the longest go out first, so that the processes end together.
    """
    from tqdm.auto import tqdm

    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    size = chunk_size or max(1, min(math.ceil(len(rows) / len(pool["processes"]) / 10), MAX_CHUNK))
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    out = torch.empty((len(rows), num_labels), dtype=torch.float32)
    with pool["lock"]:  # the answers of two calls would mix in one queue
        call = next(pool["calls"])
        for number, chunk in enumerate(chunks):
            pool["input"].put((call, number, [rows[i] for i in chunk], batch_size))
        for _ in tqdm(chunks, desc="Chunks", disable=not progress):
            number, answer = _next_answer(pool, call)
            if isinstance(answer, Exception):
                raise answer
            out[chunks[number]] = torch.from_numpy(answer)
    return out


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


def _work(device: str, threads: int, model: CrossEncoder, tasks: Any, results: Any) -> None:
    """Answers every chunk until the process is terminated: whoever waits gets logits or the exception."""
    from training.cross_encoder.prediction import logits_of

    torch.set_num_threads(threads)
    model.to(device)
    while True:
        call, number, rows, batch_size = tasks.get()
        try:
            answer: Any = logits_of(model, rows, batch_size).cpu().numpy()
        except Exception as error:
            logger.exception("chunk %s failed on %s", number, device)
            answer = _picklable(error)
        results.put((call, number, answer))


def _picklable(error: Exception) -> Exception:
    """The error itself if it survives the queue, else one that carries its traceback as text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # bytes made on this very line
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
