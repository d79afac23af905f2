"""What the launchers start, torchrun and accelerate, trains what one process with the whole batch trains."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from app.model.artifact import read_artifact
from app.model.manifest import read_manifest
from tests.unit.training import launched_script
from tests.unit.training.cross_encoder.trainer_data import exact_model_dir, largest_difference
from training.cross_encoder.checkpoints import last_complete
from training.recipe import load_recipe
from training.train import train

ROOT = Path(__file__).parents[3]
PATIENCE_S = 300
MARK = "LAUNCHED_BY_TEST"
SCRIPT = launched_script.__name__


def launch(folder: Path, *command: str) -> str:
    """What the command printed; it must end well and leave no process behind."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "home"), MARK: mark}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    end = time.monotonic() + 10
    while (left := processes_of(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left
    return done.stdout + done.stderr


def processes_of(mark: str) -> list[psutil.Process]:
    """Running processes that have inherited `mark`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(directory / "model.safetensors"))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout, whose masks each process draws for itself."""
    return exact_model_dir(tmp_path_factory.mktemp("launchers") / "model")


def test_torchrun_of_the_command_writes_one_artifact_with_the_weights_of_one_process(
    recipe_file: Path, data_root: Path, model_dir: Path, tmp_path: Path
) -> None:
    """As the documentation has it, here on the CPU; the evaluation between the steps is shared out."""
    folder = tmp_path / "runs"
    overrides = [
        f"parent={model_dir}",
        f"data_root={data_root}",
        "max_steps=4",
        "learning_rate=1e-3",
        "arguments.adam_epsilon=1e-3",  # parameters without gradient must not follow rounding errors
        "checkpoint_every=2",
        "evaluations.0.during=true",
        "arguments.dataloader_drop_last=true",
    ]
    one = train(load_recipe(recipe_file, [*overrides, f"output={tmp_path / 'one'}", "batch_size=8"]))
    shared = ["batch_size=4", f"output={folder / 'two'}"]
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training", "train"]
    printed = launch(tmp_path, *command, str(recipe_file), *overrides, *shared)

    assert sorted(path.name for path in folder.iterdir()) == ["two", "two.work"], "one artifact, no draft of another"
    read_artifact(folder / "two")
    assert largest_difference(weights(one), weights(folder / "two")) < 2e-5
    assert printed.count("model written to") == 1
    assert printed.count("data: 100%") == 1, "one process shows bars"
    manifests = [read_manifest(directory) for directory in (one, folder / "two")]
    figures = [manifest.provenance["training"] for manifest in manifests if manifest is not None]
    assert figures[0]["steps"] == figures[1]["steps"] == 4
    assert figures[1]["final_loss"] == pytest.approx(figures[0]["final_loss"], abs=1e-4)
    assert figures[1]["evaluations"][-1]["facts_ndcg@10"] == figures[0]["evaluations"][-1]["facts_ndcg@10"]
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in (folder / "two").iterdir())
    assert (folder / "two" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    newest = last_complete(folder / "two.work", 2)
    assert newest is not None
    assert Path(newest).name == "checkpoint-4", "with the state of both processes, so that a run can go on from it"


def test_accelerate_launch_of_a_script_trains_what_one_process_trains(model_dir: Path, tmp_path: Path) -> None:
    """A script as users write it, which ends with saving on every process."""
    options = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    quiet = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    command = ["accelerate.commands.launch", *options, *quiet, "-m", SCRIPT]
    launch(tmp_path, *command, str(model_dir), str(tmp_path / "two"), "4")
    launched_script.main(str(model_dir), str(tmp_path / "one"), 8)
    one, two = (tmp_path / name / "final" for name in ("one", "two"))
    assert largest_difference(weights(one), weights(two)) < 2e-5
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
