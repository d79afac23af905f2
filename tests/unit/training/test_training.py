"""Training end to end on a tiny model: it learns, resumes exactly, and never leaves half an artifact."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from app.errors import ConfigError
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import read_manifest
from tests.unit.training.conftest import FACTS
from training.batches import step_indices, sub_batches, total_steps
from training.publish import publishing
from training.recipe import Recipe
from training.train import train
from training.trainer import Trainer, learning_rate_at


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForSequenceClassification.from_pretrained(directory).state_dict())


def test_training_learns_and_writes_an_artifact_that_loads_everywhere(recipe: Recipe) -> None:
    output = train(recipe.model_copy(update={"epochs": 60}))
    manifest = read_manifest(output)
    assert manifest is not None
    assert manifest.max_length == 64
    assert {entry["name"]: entry["pairs"] for entry in manifest.provenance["data"]} == {"facts": 24, "pairs": 24}
    assert manifest.provenance["training"]["final_loss"] < 0.4
    assert (output / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert all(path.stat().st_mode & stat.S_IROTH for path in output.rglob("*"))
    assert AutoModelForSequenceClassification.from_pretrained(output).config.num_labels == 1
    model = CrossEncoder.load(output, backend="torch")
    right = model.predict(FACTS)
    wrong = model.predict([(FACTS[i][0], FACTS[(i + 3) % len(FACTS)][1]) for i in range(len(FACTS))])
    assert right.mean() > wrong.mean() + 0.2


def test_a_killed_run_goes_on_to_the_same_weights(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(recipe.model_copy(update={"output": tmp_path / "whole"}))
    step = Trainer._step

    def killed(self: Trainer, number: int) -> float:
        if number == 7:  # after the checkpoint of step 6, with one step to do again
            raise SystemExit("kill -9")
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", killed)
        with pytest.raises(SystemExit):
            train(recipe)
    assert not recipe.output.exists()
    resumed = train(recipe)
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


INTERRUPTED = """
import os, signal, sys
from training.errors import Interrupted
from training.recipe import Recipe
from training.train import train
from training.trainer import Trainer

step = Trainer._step

def interrupted(self, number):
    if number == 4:
        os.kill(os.getpid(), signal.SIGINT)
    return step(self, number)

Trainer._step = interrupted
try:
    train(Recipe.model_validate_json(sys.argv[1]))
except Interrupted as error:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(error)
    sys.exit(130)
"""


def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint(recipe: Recipe) -> None:
    """In a process of its own: the native libraries that other tests load do not all survive a SIGINT."""
    command = [sys.executable, "-c", INTERRUPTED, recipe.model_dump_json()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[3])
    assert result.returncode == 130, result.stderr
    assert "stopped after step 5 of 24" in result.stdout
    state = torch.load(recipe.output.with_name("model.work") / "checkpoint.pt", weights_only=True)
    assert state["step"] == len(state["losses"]) == 5


def test_a_checkpoint_of_another_recipe_is_refused(recipe: Recipe) -> None:
    train(recipe.model_copy(update={"max_steps": 2}))
    recipe.output.rename(recipe.output.with_name("elsewhere"))
    with pytest.raises(ConfigError, match="belongs to another recipe"):
        train(recipe.model_copy(update={"learning_rate": 1e-4}))


def test_an_existing_output_is_refused_before_any_work(recipe: Recipe) -> None:
    recipe.output.mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        train(recipe)


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def write() -> None:
        with publishing(tmp_path / "model") as draft:
            (draft / "config.json").write_text("{}")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_every_epoch_visits_every_example_once_in_another_order() -> None:
    epochs = [[i for step in steps for i in step_indices(step, 10, 4, seed=3)] for steps in (range(3), range(3, 6))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert total_steps(10, 4, 2, None) == 6
    assert total_steps(10, 4, 2, 5) == 5


def test_sub_batches_hold_every_index_once_within_the_token_budget() -> None:
    lengths = [5, 60, 7, 33, 34, 6, 61, 90]
    batches = sub_batches(range(8), lengths, 120)
    assert sorted(i for batch in batches for i in batch) == list(range(8))
    assert all(max(lengths[i] for i in batch) * len(batch) <= 120 for batch in batches)


def test_the_learning_rate_rises_and_falls_to_zero(recipe: Recipe) -> None:
    recipe = recipe.model_copy(update={"learning_rate": 1.0, "warmup": 0.2})
    rates = [learning_rate_at(step, 10, recipe) for step in range(11)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0])
