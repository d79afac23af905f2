"""The Ray engine: the same rows and scores from many processes, and clear words where that cannot be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import ConfigError
from app.model.cross_encoder import CrossEncoder
from tests.unit.training.conftest import FACTS
from tests.unit.training.engines.works import Doubling, blocks, write
from training.__main__ import main
from training.engines import EngineOptions, open_engine
from training.engines.pair_scoring import PairScoring
from training.engines.placement import Node, Placement, place
from training.engines.worker import BlockWorker, result_of
from training.errors import EngineError

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([Node(2)], None, Placement(1, 2, 0)),
        ([Node(2)], 2, Placement(2, 1, 0)),
        ([Node(0), Node(16), Node(16)], None, Placement(8, 4, 0)),
        ([Node(8), Node(8)], 3, Placement(3, 4, 0)),  # 5 CPUs each would fill no machine with two
        ([Node(8, 2), Node(4)], None, Placement(2, 4, 1)),
        ([Node(8, 1)], 2, Placement(2, 4, 0.5)),
    ],
)
def test_workers_share_no_cpu_and_fit_on_the_machines(
    nodes: list[Node], workers: int | None, expected: Placement
) -> None:
    assert place(nodes, workers) == expected


@pytest.mark.parametrize(
    ("nodes", "workers", "message"),
    [([Node(2)], 3, "do not fit on 1 machines with 2 CPUs"), ([Node(2)], 0, "1 or more"), ([Node(0)], None, "no CPUs")],
)
def test_workers_that_do_not_fit_are_refused(nodes: list[Node], workers: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        place(nodes, workers)


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sets these for its process, which is this one here."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


@pytest.mark.usefixtures("own_environment")
@pytest.mark.parametrize("kind", ["reranker_dir", "classifier_dir"])
def test_a_worker_answers_a_block_with_the_scores_of_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(kind)
    backend = "onnx" if kind == "reranker_dir" else "torch"
    worker = BlockWorker(PairScoring.of(str(directory), backend, 24), threads=1)
    answer = worker(PairScoring.block(*map(list, zip(*FACTS, strict=True))))
    assert answer.num_rows == 1
    expected = CrossEncoder.load(directory, backend=backend, max_length=24).predict(FACTS)
    assert np.array_equal(result_of(answer.to_pylist()[0]), expected)


@pytest.mark.usefixtures("own_environment")
def test_a_worker_keeps_to_its_threads() -> None:
    BlockWorker(Doubling(), threads=3)
    assert {os.environ[name] for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")} == {"3"}


@pytest.mark.usefixtures("own_environment")
@pytest.mark.parametrize(("trouble", "message"), [("load", "model.onnx is torn"), ("remedy", "the text is too long")])
def test_errors_with_a_remedy_travel_as_text(trouble: str, message: str) -> None:
    answer = BlockWorker(Doubling(trouble), threads=1)(blocks()[0])
    with pytest.raises(EngineError, match=f"a worker failed: {message}"):
        result_of(answer.to_pylist()[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "spark"], "--engine spark: unknown; choose one of local, ray"),
        (["--workers", "2"], "--workers is for --engine ray"),
        (["--address", "auto"], "--address is for --engine ray"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "nothing answers there"),
        (["--engine", "ray", "--address", "ray://head:10001"], "Ray Client is not supported"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_wrong_arguments_are_refused_in_one_line(
    arguments: list[str], message: str, reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "pairs.parquet"
    write(source, FACTS)
    assert main(["score", str(reranker_dir), str(source), "--output", str(tmp_path / "out.csv"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'crossrank\[ray\]'"), open_engine("ray", EngineOptions()):
        pass
