"""Two processes with a part of the batch each equal one process with all of it, also where the parts are unequal."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

MODULE = "tests.unit.training.cross_encoder.losses.two_processes"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """(Expected, found) of each process."""
    folder = tmp_path_factory.mktemp("gloo")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", MODULE, str(rank), str(folder / "rendezvous"), str(folder / f"{rank}.pt")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=540)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_values_and_gradients_equal_one_process(results: list[Any]) -> None:
    """For listwise losses, pairs, tuples, and in-batch negatives that are gathered from both processes;
    also where one process has no row at all."""
    for expected, found in results:
        assert len(found) == 41
        for name in expected:  # the name is in the report of a failure
            torch.testing.assert_close(
                found[name], expected[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )
