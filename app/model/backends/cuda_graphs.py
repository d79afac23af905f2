"""CUDA graphs: the launches of a whole forward pass recorded once per bucket and replayed with one call."""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from app.model.messages import first_line
from app.model.packed.buckets import Bucket

log = logging.getLogger(__name__)

MOST_GRAPHS = 64
"""Graphs kept. They share one pool of memory, so that each costs little more than its list of launches."""
EAGER_RUNS = 2
"""Batches of a bucket that run without a graph: a capture takes as long as several, and wants all kernels loaded."""
ONE_CAPTURE = threading.Lock()
"""PyTorch allows one capture at a time in a process."""

Score = Callable[[Tensor], Tensor]


class Capture(Protocol):
    """What records a pass."""

    def __call__(self, score: Score, inputs: Tensor) -> Score:
        """Replays `score` for other inputs of the same shape; an answer is good until the next replay."""
        ...


class Graphs:
    """Scores by replay where a bucket is frequent, else by `score` itself; the least recently used graph gives way.

    Not locked: whoever calls must already keep others from the stream (`CudaDevice.run`). The first failure to
    capture, or a graph that does not give what it was recorded from, turns graphs off for good.
    """

    def __init__(self, score: Callable[..., Tensor], capture: Capture, most: int = MOST_GRAPHS) -> None:
        self.on = True
        self._score, self._capture, self._most = score, capture, most
        self._seen: Counter[Bucket] = Counter()
        self._kept: OrderedDict[Bucket, Score] = OrderedDict()

    def __call__(self, inputs: Tensor, bucket: Bucket) -> Tensor:
        """Logits of a batch that fills its `bucket`, shape (bucket.rows, labels)."""
        replay = self._kept.get(bucket)
        if replay is not None:
            self._kept.move_to_end(bucket)
            return replay(inputs)
        answer = self._score(inputs, bucket)
        self._seen[bucket] += 1
        if self.on and self._seen[bucket] > EAGER_RUNS:
            self._keep(bucket, inputs, answer)
        return answer

    def _keep(self, bucket: Bucket, inputs: Tensor, expected: Tensor) -> None:
        try:
            replay = self._capture(partial(self._score, bucket=bucket), inputs)
            if not torch.allclose(replay(inputs), expected, rtol=1e-2, atol=1e-2, equal_nan=True):
                raise RuntimeError("a replay gave other scores")
        except RuntimeError as error:
            self.on = False
            self._kept.clear()
            log.warning("going on without CUDA graphs: %s", first_line(error))
            return
        self._kept[bucket] = replay
        if len(self._kept) > self._most:  # afterwards: a pool that no graph holds cannot be captured into again
            self._kept.popitem(last=False)


class CudaCapture:
    """Records on the current stream. Passes that ran there before have loaded what must not be loaded in a capture."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, score: Score, inputs: Tensor) -> Score:
        graph, static = torch.cuda.CUDAGraph(), inputs.clone()
        # "thread_local": what other threads do meanwhile, such as uploading the next batch, is none of its business.
        with (
            ONE_CAPTURE,
            torch.cuda.graph(
                graph, pool=self._pool, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"
            ),
        ):
            answer = score(static)

        def replay(inputs: Tensor) -> Tensor:
            static.copy_(inputs)
            graph.replay()
            return answer

        return replay
