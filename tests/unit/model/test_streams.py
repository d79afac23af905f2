"""Batches side by side: order, errors, small totals, and the same logits."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.model.backends import MOST_STREAMS, BackendOptions, Streaming
from app.model.bucketing import LEAST, Budget
from app.model.cpus import available_cpus
from app.model.cross_encoder import CrossEncoder
from app.model.streams import each, shared_out

PAIRS = [(f"question {i}", " ".join(["word"] * (i % 40))) for i in range(200)]


def test_every_stream_gets_a_batch_where_there_are_tokens_enough() -> None:
    assert shared_out(Budget(1024), 10_000, 2).max_tokens == 1024
    assert shared_out(Budget(1024), 1000, 2).max_tokens == 500
    assert shared_out(Budget(1024), 1001, 2).max_tokens == 501
    assert shared_out(Budget(1024), 300, 2).max_tokens == LEAST
    assert shared_out(Budget(100), 300, 2).max_tokens == 100, "never more than was allowed"


def test_items_run_side_by_side() -> None:
    """Each of the two waits for the other: one after the other they would never end."""
    together = threading.Barrier(2)
    each(lambda _: together.wait(timeout=30) and None, [0, 1], 2)


@pytest.mark.parametrize("streams", [1, 2])
def test_after_an_error_no_further_item_is_begun(streams: int) -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("the second")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="the second"):
        each(work, list(range(1000)), streams)
    assert len(begun) < 100, "what was begun beside it ends, and that is all"


def test_streams_change_no_logit(reranker_dir: Path) -> None:
    alone = CrossEncoder.load(reranker_dir, "openvino")
    several = CrossEncoder.load(reranker_dir, "openvino", BackendOptions(threads=2, streams=2))
    assert isinstance(several.backend, Streaming)
    assert streams_of(several) == several.backend.streams == 2
    assert streams_of(alone) == 1
    for pairs in (PAIRS, PAIRS[:1], []):
        np.testing.assert_allclose(several.predict(pairs), alone.predict(pairs), atol=1e-6)


def test_where_many_rows_are_scored_each_core_has_a_stream() -> None:
    assert BackendOptions(threads=3).for_many_rows() == BackendOptions(threads=3, streams=3)
    assert BackendOptions(threads=99).for_many_rows().streams == MOST_STREAMS
    assert BackendOptions().for_many_rows().streams == min(available_cpus(), MOST_STREAMS)


def streams_of(model: CrossEncoder) -> int:
    backend: Any = model.backend
    return int(backend._model.get_property("NUM_STREAMS"))
