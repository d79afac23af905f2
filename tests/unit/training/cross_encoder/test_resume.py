"""A run that was interrupted ends with the very same weights as one that was not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

from tests.models import write_model
from tests.unit.training.cross_encoder.trainer_data import arguments, identical, pairs, weights
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.checkpoints import last_complete
from training.cross_encoder.losses import BinaryCrossEntropyLoss

STEPS = 9
ROOT = Path(__file__).parents[4]


class StopAt(TrainerCallback):
    """Ends the training at a step, as an interruption would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def dropout_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout on: random numbers are drawn in every step."""
    return write_model(tmp_path_factory.mktemp("models") / "dropout")


def run(directory: Path, output: Path, data: Any, loss: Any, stop: int | None = None, **kwargs: Any) -> CrossEncoder:
    model = CrossEncoder(str(directory), device="cpu")
    resume = kwargs.pop("resume", None)
    settings = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2, **kwargs}
    callbacks = [] if stop is None else [StopAt(stop)]
    trainer = CrossEncoderTrainer(
        model, arguments(output, **settings), data, loss=lambda model: loss(model), callbacks=callbacks
    )
    if stop is None:
        trainer.train(resume_from_checkpoint=resume)
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return model


CASES: dict[str, dict[str, Any]] = {"bucketing": {"length_bucketing": True}, "token_budget": {"batch_tokens": 80}}
"""Interrupted with Ctrl-C; `test_kill` kills runs with every sampler."""


@pytest.mark.parametrize("case", CASES)
def test_resuming_at_a_random_step_equals_the_uninterrupted_run_bit_for_bit(
    case: str, dropout_dir: Path, tmp_path: Path
) -> None:
    kwargs, data, loss = CASES[case], pairs(14), BinaryCrossEntropyLoss
    stop = random.Random(case).randint(2, STEPS - 1)  # saved up to the step before
    whole = run(dropout_dir, tmp_path / "whole", data, loss, **kwargs)
    run(dropout_dir, tmp_path / "parts", data, loss, stop=stop, **kwargs)
    resumed = run(dropout_dir, tmp_path / "parts", data, loss, resume=True, **kwargs)
    assert identical(weights(whole), weights(resumed)), f"interrupted in step {stop}"


def test_a_run_that_accumulates_gradients_resumes_bit_for_bit(dropout_dir: Path, tmp_path: Path) -> None:
    kwargs = {"gradient_accumulation_steps": 2, "max_steps": 5}
    data = pairs(18)
    whole = run(dropout_dir, tmp_path / "whole", data, BinaryCrossEntropyLoss, **kwargs)
    run(dropout_dir, tmp_path / "parts", data, BinaryCrossEntropyLoss, stop=4, **kwargs)
    resumed = run(dropout_dir, tmp_path / "parts", data, BinaryCrossEntropyLoss, resume=True, **kwargs)
    assert identical(weights(whole), weights(resumed))


def test_a_checkpoint_that_was_half_written_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((9, "{}"), (10, '{"global_st'), (11, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").touch()
        (folder / "rng_state.pth").touch()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_complete(tmp_path, 1) == str(tmp_path / "checkpoint-9")
    assert last_complete(tmp_path / "checkpoint-9", 1) is None


def test_a_checkpoint_of_another_number_of_processes_is_taken_where_it_is_known_to_be_whole(tmp_path: Path) -> None:
    """6.2 goes on from it; of several processes each writes the state of its own random numbers."""
    found = {}
    for wrote, names in {"one": ["rng_state"], "two": ["rng_state_0", "rng_state_1"], "half": ["rng_state_0"]}.items():
        folder = tmp_path / wrote / "checkpoint-3"
        folder.mkdir(parents=True)
        for name in ("optimizer.pt", *(f"{name}.pth" for name in names)):
            (folder / name).touch()
        (folder / "trainer_state.json").write_text("{}")
        found[wrote] = [last_complete(tmp_path / wrote, processes) is not None for processes in (1, 2, 3)]
    assert found == {"one": [True, True, True], "two": [True, True, False], "half": [True, False, False]}


def test_after_kill_9_the_resumed_run_equals_the_uninterrupted_one(dropout_dir: Path, tmp_path: Path) -> None:
    def start(output: str, *more: str) -> subprocess.Popen[bytes]:
        module = "tests.unit.training.cross_encoder.resumed_run"
        line = [sys.executable, "-m", module, str(dropout_dir), str(tmp_path / output), *more]
        return subprocess.Popen(line, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})

    killed = start("killed")
    deadline = time.monotonic() + 300
    while not (tmp_path / "killed" / "checkpoint-4").is_dir():  # just being written
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() != 0
    assert not (tmp_path / "killed" / "final").exists()
    assert start("killed", "resume").wait(300) == 0
    assert start("whole").wait(300) == 0
    whole, resumed = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "killed"))
    assert identical(whole, resumed)
