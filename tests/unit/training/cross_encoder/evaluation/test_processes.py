"""Two processes evaluate together: each scores its share, both see the same result, one writes the files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.cross_encoder.evaluation import processes_worker
from tests.unit.training.cross_encoder.evaluation.fakes import FakeModel
from training.evaluation.processes import longest_first

MODULE = "tests.unit.training.cross_encoder.evaluation.processes_worker"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", MODULE, str(directory)]
    workers = [
        subprocess.Popen(command, env=os.environ | address | {"RANK": str(rank), "PYTHONHASHSEED": str(rank + 1)})
        for rank in range(2)
    ]
    try:
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    return directory, [json.loads((directory / f"{rank}.json").read_text()) for rank in range(2)]


def test_both_see_what_one_process_sees(reports: tuple[Path, list[dict[str, Any]]]) -> None:
    alone = processes_worker.evaluator()(FakeModel(processes_worker.score))
    assert [report["metrics"] for report in reports[1]] == [alone, alone]


def test_each_scores_every_second_pair_of_the_sorted_list(reports: tuple[Path, list[dict[str, Any]]]) -> None:
    falling = processes_worker.TEXTS[::-1]
    assert [report["shares"][0] for report in reports[1]] == [falling[0::2], falling[1::2]]


def test_only_the_first_writes_csv_files(reports: tuple[Path, list[dict[str, Any]]]) -> None:
    files = sorted((reports[0] / "eval").iterdir())
    assert [path.name for path in files] == [
        "CrossEncoderClassificationEvaluator_results.csv",
        "CrossEncoderRerankingEvaluator_rank_results_@10.csv",
    ]
    assert [len(path.read_text().splitlines()) for path in files] == [2, 2]


def test_fewer_pairs_than_processes(reports: tuple[Path, list[dict[str, Any]]]) -> None:
    first, second = (report["fewer pairs than processes"] for report in reports[1])
    assert first == second
    assert first["f1"] == 1


def test_a_failure_of_one_ends_all_instead_of_hanging(reports: tuple[Path, list[dict[str, Any]]]) -> None:
    first, second = (report["failure"] for report in reports[1])
    assert first.startswith("RuntimeError: process 1 failed while it scored its share of the evaluation: KeyError")
    assert second.startswith("KeyError")


def test_one_process_may_evaluate_alone(reports: tuple[Path, list[dict[str, Any]]]) -> None:
    """As scripts do at their end, without a word to the library."""
    assert reports[1][0]["alone"] == reports[1][0]["metrics"]
    assert "alone" not in reports[1][1]


def test_pairs_of_equal_length_keep_their_order() -> None:
    assert longest_first([["a", "b"], ["aa", "b"], ["a", "bb"], ["b", "a"]]) == [1, 2, 0, 3]
