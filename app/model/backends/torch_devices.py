"""How inputs get to the device of a PyTorch model and scores back from it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.model.types import FloatArray


class Upload(NamedTuple):
    """Inputs on the device; on a GPU the event after which they are there."""

    inputs: Tensor
    done: torch.cuda.Event | None = None


class Device(Protocol):
    """Where a model runs."""

    def upload(self, inputs: NDArray[np.int64]) -> Upload:
        """Starts the copy. May be called while another thread is in `run`."""
        ...

    def run(self, upload: Upload, score: Callable[[Tensor], Tensor]) -> FloatArray:
        """The scores of what was uploaded, back on the host."""
        ...


class CpuDevice:
    """Nothing has to be copied."""

    def upload(self, inputs: NDArray[np.int64]) -> Upload:
        return Upload(torch.from_numpy(inputs))

    def run(self, upload: Upload, score: Callable[[Tensor], Tensor]) -> FloatArray:
        return np.asarray(score(upload.inputs).numpy())


class CudaDevice:
    """One GPU, with a stream for copies to it and one for everything else.

    The batcher's padding thread uploads the next batch while its scoring thread waits in `run` for the present one:
    that copy, from pinned memory and on a stream of its own, overlaps the computation. One batch computes at a time.
    Between two of them the GPU waits for the host to hand out the scores and launch the next: with the inputs there
    and a CUDA graph recorded, that is a few calls.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._copies, self._computing = _stream(), _stream()
        self._computing.wait_stream(torch.cuda.default_stream(device))  # on which the weights were copied
        self._lock = threading.Lock()

    def upload(self, inputs: NDArray[np.int64]) -> Upload:
        with torch.cuda.stream(self._copies):
            # PyTorch keeps pinned blocks, and gives one out again only when the copies from it are done.
            pinned = torch.empty(inputs.shape, dtype=torch.int64, pin_memory=True)
            pinned.numpy()[...] = inputs
            there = pinned.to(self._device, non_blocking=True)
            done = _event()
            done.record()
        return Upload(there, done)

    def run(self, upload: Upload, score: Callable[[Tensor], Tensor]) -> FloatArray:
        try:
            answer, done = self._enqueue(upload, score)
            done.synchronize()  # without the GIL
        except Exception:
            # What was launched may still read the upload, whose memory the next one is about to get.
            with suppress(RuntimeError):
                self._computing.synchronize()
            raise
        return np.array(answer.numpy())

    def _enqueue(self, upload: Upload, score: Callable[[Tensor], Tensor]) -> tuple[Tensor, torch.cuda.Event]:
        """Everything that the GPU has to do, in its order: a replay's answer is copied before the next replay."""
        with self._lock, torch.cuda.stream(self._computing):
            if upload.done is not None:
                self._computing.wait_event(upload.done)
            scores = score(upload.inputs)
            answer = torch.empty(scores.shape, dtype=scores.dtype, pin_memory=True)
            answer.copy_(scores, non_blocking=True)
            done = _event(blocking=True)  # leaves the core to the tokenising threads
            done.record()
        return answer, done


def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def _event(blocking: bool = False) -> torch.cuda.Event:
    return torch.cuda.Event(blocking=blocking)  # type: ignore[no-untyped-call]
