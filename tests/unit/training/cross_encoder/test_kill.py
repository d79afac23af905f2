"""A run that was killed with SIGKILL at any moment, resumed, ends with the very same weights as one that was not."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.models import write_model
from tests.unit.training.cross_encoder.killed_runs import STEPS, Kill, train
from tests.unit.training.cross_encoder.trainer_data import identical
from training.cross_encoder.checkpoints import is_complete, last_complete
from training.training_args import BatchSamplers, MultiDatasetBatchSamplers

ROOT = Path(__file__).parents[4]
SEED = "RESUME_SEED"
"""The variable that repeats the moments of a failed test: its message tells the seed."""
CASES = [*BatchSamplers, *MultiDatasetBatchSamplers, "temperature", "stream"]
LIMIT_S = 300


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerContext]:
    """Processes that begin with everything imported, which takes seconds in a fresh one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", train.__module__])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        patched.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
    yield context
    # It would stay until the end of all tests, with everything that it imported.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def dropout_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout on: random numbers are drawn in every step."""
    return write_model(tmp_path_factory.mktemp("models") / "dropout")


def end(context: ForkServerContext, *runs: tuple[Any, ...]) -> list[int | None]:
    """How processes end that train at the same time, each with these arguments of `train`."""
    processes = [context.Process(target=train, args=run) for run in runs]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(LIMIT_S)
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()


@pytest.mark.parametrize("sampler", [str(case) for case in CASES])
def test_after_kill_9_at_any_moment_the_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    sampler: str, server: ForkServerContext, dropout_dir: Path, tmp_path: Path
) -> None:
    seed = os.environ.get(SEED) or os.urandom(8).hex()
    draw = random.Random(f"{seed} {sampler}")
    kill = Kill(draw.randint(3, STEPS - 2), draw.random(), draw.random() < 0.5)
    told = f"{kill}; {SEED}={seed} repeats it"
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    both = end(server, (sampler, str(dropout_dir), str(whole)), (sampler, str(dropout_dir), str(killed), kill))
    assert both == [0, -signal.SIGKILL], told
    assert not (killed / "final").exists(), told
    assert last_complete(killed, 1) is not None, told
    assert end(server, (sampler, str(dropout_dir), str(killed), None, True)) == [0], told
    first, second = (load_file(folder / "final" / "model.safetensors") for folder in (whole, killed))
    assert identical(first, second), told


def test_a_kill_may_leave_half_a_checkpoint_which_is_passed_over(
    server: ForkServerContext, dropout_dir: Path, tmp_path: Path
) -> None:
    """The moments of the test above are such ones too."""
    run = ("batch_sampler", str(dropout_dir), str(tmp_path))
    assert end(server, (*run, Kill(3, 0.6, saving=True))) == [-signal.SIGKILL]
    half = tmp_path / "checkpoint-3"
    assert list(half.iterdir())
    assert not is_complete(half, 1)
    assert last_complete(tmp_path, 1) == str(tmp_path / "checkpoint-2")
    assert end(server, (*run, None, True)) == [0]
    assert (tmp_path / "final" / "model.safetensors").is_file()
