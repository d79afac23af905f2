"""Two processes do what one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.unit.training.cross_encoder.trainer_data import exact_model_dir, largest_difference
from training.cross_encoder import CrossEncoder

ROOT = Path(__file__).parents[4]
PATIENCE_S = 500


def start(
    model: Path, output: Path, rank: int, world: int, port: int, module: str = "two_processes"
) -> subprocess.Popen[bytes]:
    output.mkdir(exist_ok=True)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    if world > 1:
        env |= {name: str(value) for name, value in names.items()}
    command = [sys.executable, "-m", f"tests.unit.training.cross_encoder.{module}", str(model), str(output)]
    return subprocess.Popen(command, cwd=ROOT, env=env)


def run_two(model: Path, output: Path, module: str) -> Path:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    together = [start(model, output, rank, 2, port, module) for rank in range(2)]
    try:
        assert [process.wait(PATIENCE_S) for process in together] == [0, 0]
    finally:
        for process in together:
            process.kill()
    return output


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process and two processes wrote."""
    folder = tmp_path_factory.mktemp("distributed")
    model = exact_model_dir(folder / "model")
    run_two(model, folder / "two", "two_processes")
    assert start(model, folder / "one", 0, 1, 0).wait(PATIENCE_S) == 0
    return folder / "one", folder / "two"


@pytest.mark.parametrize("kind", ["elementwise", "listwise", "stream", "lambda", "rank_net", "adr_mse", "in_batch"])
def test_two_processes_with_half_the_batch_each_equal_one(outputs: tuple[Path, Path], kind: str) -> None:
    one, two = (load_file(output / f"{kind}.safetensors") for output in outputs)
    assert largest_difference(one, two) < 2e-5


@pytest.mark.parametrize("kind", ["by_dataset", "streams_by_dataset"])
def test_two_processes_equal_one_with_a_loss_for_each_dataset(outputs: tuple[Path, Path], kind: str) -> None:
    """Their means were not joined, and in one step each process had a batch of another dataset."""
    one, two = (load_file(output / f"{kind}.safetensors") for output in outputs)
    assert largest_difference(one, two) < 2e-5


def test_no_row_of_a_streamed_evaluation_counts_twice(outputs: tuple[Path, Path]) -> None:
    """The process without a batch in the last round got one that was another's, and counted it again."""
    one, two = (json.loads((output / "found.json").read_text())["streamed"] for output in outputs)
    assert two == pytest.approx(one, abs=1e-5)


def test_all_processes_measure_the_same_as_one(outputs: tuple[Path, Path]) -> None:
    """The processes compare among themselves; evaluators share the work, no row of the evaluation data is left out."""
    one, two = (json.loads((output / "found.json").read_text())["metrics"] for output in outputs)
    assert one.keys() == two.keys()
    assert {name: value for name, value in two.items() if "dev" in name} == pytest.approx(
        {name: value for name, value in one.items() if "dev" in name}, abs=1e-4
    )


def test_uneven_data_does_not_hang_and_what_losses_learn_is_averaged(outputs: tuple[Path, Path]) -> None:
    found = json.loads((outputs[1] / "found.json").read_text())
    assert found["scales"][0] == found["scales"][1] != 1.0
    assert {"part_0", "part_1"} <= set(found["logged"]), "parts that only one process has seen are logged too"


@pytest.fixture(scope="module")
def sharded(outputs: tuple[Path, Path]) -> Path:
    """What two processes wrote that share out the weights."""
    return run_two(outputs[0].parent / "model", outputs[0].parent / "sharded", "sharded_processes")


@pytest.mark.parametrize("kind", ["elementwise", "listwise"])
def test_two_processes_that_share_out_the_weights_equal_one(
    outputs: tuple[Path, Path], sharded: Path, kind: str
) -> None:
    """Also with gradient caching asked for, and with batches that one process alone would cut into other chunks.

    They made as many passes each as their own chunks were, and waited for one another for ever; saving failed.
    """
    one = load_file(outputs[0] / f"{kind}.safetensors")
    assert largest_difference(one, load_file(sharded / kind / "model.safetensors")) < 2e-5


def test_a_sharded_run_resumes_where_it_was(sharded: Path) -> None:
    whole, resumed = (load_file(sharded / kind / "model.safetensors") for kind in ("elementwise", "resumed"))
    assert largest_difference(whole, resumed) == 0


def test_sharded_models_are_measured_by_all_processes_alike_and_saved_whole(
    outputs: tuple[Path, Path], sharded: Path
) -> None:
    one, found = (json.loads((folder / "found.json").read_text()) for folder in (outputs[0], sharded))
    assert found["metrics"][0] == found["metrics"][1]
    assert found["metrics"][0] == pytest.approx(
        {name: value for name, value in one["metrics"].items() if "dev" in name}, abs=1e-4
    )
    scores = CrossEncoder(sharded / "elementwise", device="cpu").predict([("a", "b"), ("c", "d e")])
    assert scores.tolist() == pytest.approx(found["scores"], abs=1e-5)
