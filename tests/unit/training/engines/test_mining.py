"""Mining on an engine that reads ahead: the same negatives, and the cache kept shard by shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from tests.unit.training.engines.mining import mined
from tests.unit.training.engines.works import EAGER
from tests.unit.training.mining.files import recipe_of
from training import engines
from training.mining import cache, report, rescoring


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards and chunks, no picture, and the eager engine under Ray's name."""
    monkeypatch.setattr(cache, "ROWS_PER_SHARD", 6)
    monkeypatch.setattr(rescoring, "PAIRS_PER_CHUNK", 20)
    monkeypatch.setattr(report, "plot_scores", lambda *_: None)
    monkeypatch.setitem(engines.ENGINES, "ray", "tests.unit.training.engines.works:eager")


def test_negatives_and_scores_are_those_of_the_local_engine(tmp_path: Path, reranker_dir: Path) -> None:
    before = EAGER.read
    rows = mined(tmp_path, "ray", reranker_dir, "ray")
    assert EAGER.read - before > 8 + 2  # four shards of each side, and more than one chunk for each scorer
    assert rows == mined(tmp_path, "local", reranker_dir, "local")


def test_a_stopped_run_goes_on_behind_the_shards_that_it_wrote(
    tmp_path: Path, reranker_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = cache.VectorFile.write, []

    def stopped(self: Any, shard: cache.Shard, vectors: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard)
        write(self, shard, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(cache.VectorFile, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            mined(tmp_path, "ray", reranker_dir, "ray")
    (tmp_path / "again").mkdir()
    whole = EAGER.read
    mined(tmp_path / "again", "ray", reranker_dir, "ray")
    whole, rest = EAGER.read - whole, EAGER.read
    rows = mined(tmp_path, "ray", reranker_dir, "ray")
    assert EAGER.read - rest == whole - 2
    assert rows == mined(tmp_path, "local", reranker_dir, "local")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"engine": "spark"}, "engine"),
        ({"engine_workers": 2}, 'are for engine = "ray"'),
        ({"engine_address": "auto"}, 'are for engine = "ray"'),
        (
            {"engine": "ray", "rescoring": {"model": "default", "workers": ["cpu", "cpu"]}},
            '`workers` of a section is for engine = "local"',
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        recipe_of(tmp_path, **keys)
