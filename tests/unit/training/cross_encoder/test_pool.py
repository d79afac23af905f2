"""Scoring in several processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Queue
from threading import Lock
from typing import Any

import numpy as np
import pytest

from tests.unit.training.cross_encoder.test_predict import PAIRS
from training.cross_encoder import CrossEncoder
from training.cross_encoder.pool import _picklable, logits_in_pool

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def model(classifier_dir: Path) -> CrossEncoder:
    return CrossEncoder(classifier_dir, device="cpu", activation_fn=lambda logits: logits)


@pytest.fixture(scope="module")
def pool(model: CrossEncoder) -> Iterator[dict[str, Any]]:
    started = model.start_multi_process_pool(["cpu", "cpu"])
    yield started
    model.stop_multi_process_pool(started)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 3}, {"apply_softmax": True}, {"convert_to_tensor": True}])
def test_a_pool_gives_the_scores_of_one_process(
    model: CrossEncoder, pool: dict[str, Any], options: dict[str, Any]
) -> None:
    alone = model.predict(PAIRS, **{name: value for name, value in options.items() if name != "chunk_size"})
    found = model.predict(PAIRS, pool=pool, **options)
    assert type(found) is type(alone)
    np.testing.assert_allclose(np.asarray(found), np.asarray(alone), **CLOSE)


def test_a_pool_answers_single_and_empty_inputs(model: CrossEncoder, pool: dict[str, Any]) -> None:
    assert model.predict(PAIRS[0], pool=pool).shape == (3,)
    assert model.predict([], pool=pool).shape == (0, 3)


def test_what_a_worker_raises_is_raised_here_and_the_pool_lives_on(model: CrossEncoder, pool: dict[str, Any]) -> None:
    encoder = model.pair_encoder
    rows = encoder.pairs(PAIRS[:4])
    rows[1].ids[2] = 10**6  # no such token
    with pytest.raises(IndexError):
        logits_in_pool(pool, rows, 3, 32, 1, False)
    np.testing.assert_allclose(model.predict(PAIRS, pool=pool), model.predict(PAIRS), **CLOSE)


def test_a_list_of_devices_makes_a_pool_for_the_call(model: CrossEncoder) -> None:
    np.testing.assert_allclose(model.predict(PAIRS[:8], device=["cpu"]), model.predict(PAIRS[:8]), **CLOSE)


@dataclass
class DeadProcess:
    """A process that the system killed."""

    pid: int = 7
    exitcode: int = -9

    def is_alive(self) -> bool:
        return False


def test_a_dead_worker_is_reported_instead_of_waited_for(model: CrossEncoder) -> None:
    pool = {"input": Queue(), "output": Queue(), "processes": [DeadProcess()], "lock": Lock(), "calls": count()}
    with pytest.raises(RuntimeError, match=r"pid 7 \(exit code -9\)\. Stop it and start a new one"):
        model.predict(PAIRS, pool=pool)


def test_answers_to_a_call_that_failed_halfway_are_not_taken_for_those_of_the_next(model: CrossEncoder) -> None:
    stale, fresh = np.full((1, 3), 5.0, dtype=np.float32), np.zeros((1, 3), dtype=np.float32)
    pool = {"input": Queue(), "output": Queue(), "processes": [DeadProcess()], "lock": Lock(), "calls": count(1)}
    pool["output"].put((0, 0, stale))
    pool["output"].put((1, 0, fresh))
    np.testing.assert_array_equal(model.predict(PAIRS[:1], pool=pool), fresh)


def test_an_error_that_cannot_travel_is_replaced_by_its_traceback() -> None:
    class Local(Exception):
        """Cannot be pickled: no process finds its class."""

    assert "Local: what happened" in str(_picklable(Local("what happened")))
    assert isinstance(_picklable(KeyError("a")), KeyError)


def test_a_graph_has_no_pool(reranker_dir: Path) -> None:
    with pytest.raises(ValueError, match="backend='torch'"):
        CrossEncoder(reranker_dir, backend="onnx").start_multi_process_pool(["cpu"])
