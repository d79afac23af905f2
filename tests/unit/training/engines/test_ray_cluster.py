"""The Ray engine on this machine: two processes give what one gives, failures are retried, then explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet
import pytest

from tests.unit.training.conftest import FACTS
from tests.unit.training.engines.mining import mined
from tests.unit.training.engines.works import Doubling, blocks, write
from training.__main__ import main
from training.engines import EngineOptions, open_engine
from training.errors import EngineError
from training.mining import cache, rescoring

ROOT = Path(__file__).parents[4]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`[A-Za-z0-9_.]+` is deprecated:DeprecationWarning"),  # Ray about itself
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine: two workers, each a process."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("window", [1 << 20, 40])
def test_results_keep_the_order_of_their_blocks_within_and_across_windows(window: int) -> None:
    with open_engine("ray", EngineOptions(workers=2)) as engine:
        engine.window_bytes = window  # type: ignore[attr-defined]
        found = list(engine.arrays(Doubling(), iter(blocks(3))))
    expected = [block["number"].to_numpy() for block in blocks(3)]
    assert [array.shape for array in found] == [(4, 2)] * 3
    assert np.array_equal(np.concatenate(found)[:, 0], np.concatenate(expected) * 2)


@pytest.mark.usefixtures("cluster")
def test_scores_rows_and_order_are_those_of_the_local_engine(reranker_dir: Path, tmp_path: Path) -> None:
    for number, pairs in enumerate((FACTS, FACTS[::-1], FACTS[:3])):
        write(tmp_path / f"pairs-{number}.parquet", pairs)
    command = ["score", str(reranker_dir), str(tmp_path / "pairs-*.parquet"), "--chunk", "3"]
    tables = []
    for engine in (["local"], ["ray", "--workers", "2"]):
        output = tmp_path / f"{engine[0]}.parquet"
        assert main([*command, "--output", str(output), "--engine", *engine]) == 0
        tables.append(pyarrow.parquet.read_table(output))
    assert tables[0].num_rows == 19
    assert tables[1].equals(tables[0])


@pytest.mark.usefixtures("cluster")
def test_a_block_whose_worker_dies_is_computed_again(tmp_path: Path) -> None:
    with open_engine("ray", EngineOptions(workers=2)) as engine:
        found = list(engine.arrays(Doubling("death", tmp_path / "once"), blocks()))
    assert (tmp_path / "once").exists()
    assert np.array_equal(np.concatenate(found)[:, 1], np.arange(24))


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("trouble", "message"),
    [("death", "died more often than they are retried"), ("bug", "KeyError"), ("load", "model.onnx is torn")],
)
def test_failures_that_stay_are_explained_in_one_line(trouble: str, message: str) -> None:
    with (
        pytest.raises(EngineError, match=message) as raised,
        open_engine("ray", EngineOptions(workers=2)) as engine,
    ):
        list(engine.arrays(Doubling(trouble), blocks()))
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("cluster")
def test_mined_negatives_are_those_of_the_local_engine(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ROWS_PER_SHARD", 6)
    monkeypatch.setattr(rescoring, "PAIRS_PER_CHUNK", 40)
    rows = {name: mined(tmp_path, name, reranker_dir, name) for name in ("local", "ray")}
    assert len(rows["ray"]) > 20
    texts = [[{key: value for key, value in row.items() if isinstance(value, str)} for row in rows[n]] for n in rows]
    assert texts[0] == texts[1]
    numbers = [[value for row in rows[name] for value in row["scores"]] for name in rows]
    assert np.allclose(*numbers, atol=1e-6)


STOPPED = """
import os, sys
from training import score
from training.__main__ import main

appended = score.np.ascontiguousarray

def stopped(column):
    os.kill(os.getpid(), int(sys.argv[1]))
    return appended(column)

score.np.ascontiguousarray = stopped
sys.exit(main(["score", *sys.argv[2:]]))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_workers_and_leave_nothing_half_written(
    sent: signal.Signals, reranker_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "pairs.parquet"
    write(source, FACTS)
    command = [str(reranker_dir), str(source), "--output", str(tmp_path / "out.csv"), "--chunk", "2", "--engine", "ray"]
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(sent)), *command],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "TEST_MARK": str(tmp_path)},
    )
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr.endswith("interrupted; nothing half-written is left behind\n")
    assert list(tmp_path.iterdir()) == [source]
    assert not list(marked(str(tmp_path)))


def marked(value: str) -> Iterator[Any]:
    """Processes that inherited the mark."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEST_MARK") == value and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:
            continue
