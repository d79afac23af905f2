"""Vectors on disk: computed once, never for another model, whole after any interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.errors import ConfigError
from training.mining import cache as module
from training.mining.cache import JOURNAL, MATRIX, Cache, readable
from training.mining.text_store import digests_of

TEXTS = [f"text {i}" for i in range(25)]
DIMENSION = 3


def vector(text: str) -> list[float]:
    """A different one for each text."""
    return [float(len(text)), float(sum(map(ord, text))), 1.0]


class Encoder:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Any:
        self.asked.append(list(texts))
        return np.array([vector(text) for text in texts], dtype=np.float32)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_PER_SHARD", 10)


def vectors(folder: Path, texts: list[str], encode: Any, model: str = "m", **keys: Any) -> Any:
    return Cache(folder, keys.pop("limit", None)).vectors(
        pa.array(texts, pa.large_string()), digests_of(texts), encode, model, DIMENSION, **keys
    )


def folders(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob(f"vectors/*/*/{MATRIX}")]


def test_vectors_are_computed_once_in_shards_and_read_from_the_file(tmp_path: Path) -> None:
    encode = Encoder()
    first = vectors(tmp_path, TEXTS, encode)
    assert [len(texts) for texts in encode.asked] == [10, 10, 5]
    assert np.array_equal(first, [vector(text) for text in TEXTS])
    assert isinstance(vectors(tmp_path, TEXTS, None), np.memmap)
    assert np.array_equal(vectors(tmp_path, TEXTS, None), first)


def test_another_model_or_prompt_or_order_of_texts_has_vectors_of_its_own(tmp_path: Path) -> None:
    vectors(tmp_path, TEXTS, Encoder())
    for texts, model in ((TEXTS, "other"), (TEXTS[::-1], "m")):
        encode = Encoder()
        assert np.array_equal(vectors(tmp_path, texts, encode, model), [vector(text) for text in texts])
        assert encode.asked
    assert len(folders(tmp_path)) == 3


def test_a_longer_corpus_takes_the_equal_shards_of_the_shorter_one(tmp_path: Path) -> None:
    vectors(tmp_path, TEXTS, Encoder())
    encode = Encoder()
    longer = [*TEXTS, "a new text"]
    assert np.array_equal(vectors(tmp_path, longer, encode), [vector(text) for text in longer])
    assert encode.asked == [longer[20:]]


def test_several_shards_are_encoded_at_once_where_several_processes_share_them(tmp_path: Path) -> None:
    encode = Encoder()
    found = vectors(tmp_path, TEXTS, encode, shards_at_once=2)
    assert [len(texts) for texts in encode.asked] == [20, 5]
    assert np.array_equal(found, [vector(text) for text in TEXTS])


@pytest.mark.parametrize("damage", ["content", "size", "journal"])
def test_a_torn_shard_is_noticed_and_computed_again(damage: str, tmp_path: Path) -> None:
    expected = np.array(vectors(tmp_path, TEXTS, Encoder()))
    (folder,) = folders(tmp_path)
    matrix, journal = folder / MATRIX, folder / JOURNAL
    if damage == "content":
        content = bytearray(matrix.read_bytes())
        content[12 * DIMENSION * 4] ^= 1  # of the second shard
        matrix.write_bytes(content)
    elif damage == "size":
        matrix.write_bytes(matrix.read_bytes()[: 12 * DIMENSION * 4])
    else:
        journal.write_text(journal.read_text()[:-20])
    encode = Encoder()
    assert np.array_equal(vectors(tmp_path, TEXTS, encode), expected)
    assert (
        encode.asked == {"content": [TEXTS[10:20]], "size": [TEXTS[10:20], TEXTS[20:]], "journal": [TEXTS[20:]]}[damage]
    )
    assert np.array_equal(vectors(tmp_path, TEXTS, None), expected)


KILLED = """
import os, signal, sys
import numpy as np, pyarrow as pa
from pathlib import Path
from tests.unit.training.mining.test_cache import TEXTS, DIMENSION, vector
from training.mining import cache
from training.mining.text_store import digests_of

cache.ROWS_PER_SHARD = 10
calls = []

def encode(texts):
    calls.append(texts)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([vector(text) for text in texts], dtype=np.float32)

one = cache.Cache(Path(sys.argv[1]))
with one.opened():
    one.vectors(pa.array(TEXTS, pa.large_string()), digests_of(TEXTS), encode, "m", DIMENSION)
"""


def test_a_killed_run_goes_on_behind_its_last_whole_shard(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        timeout=300,
        cwd=Path(__file__).parents[4],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    encode = Encoder()
    with Cache(tmp_path).opened():  # the lock died with its owner
        assert np.array_equal(vectors(tmp_path, TEXTS, encode), [vector(text) for text in TEXTS])
    assert encode.asked == [TEXTS[20:]]


def test_one_run_at_a_time_and_drafts_of_killed_ones_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "texts" / ".draft").mkdir(parents=True)
    with Cache(tmp_path).opened():
        assert not (tmp_path / "texts" / ".draft").exists()
        with pytest.raises(ConfigError, match="another run is at work in this cache"), Cache(tmp_path).opened():
            pass
    with Cache(tmp_path).opened():
        pass


def test_a_limit_deletes_the_least_recently_used_vectors_of_earlier_runs(tmp_path: Path) -> None:
    for model in ("old", "older", "new"):
        vectors(tmp_path, TEXTS, Encoder(), model)
        for folder in folders(tmp_path):
            if not (folder / "seen").exists():
                (folder / "seen").write_text(model)
                os.utime(folder / JOURNAL, (0, {"old": 20, "older": 10, "new": 30}[model]))
    size = Cache(tmp_path).size_bytes()
    vectors(tmp_path, TEXTS, Encoder(), "newest", limit=size + 10)
    assert sorted((folder / "seen").read_text() for folder in folders(tmp_path) if (folder / "seen").exists()) == [
        "new",
        "old",
    ]
    with pytest.raises(ConfigError, match=r"this run needs .* of cache, above cache_limit_gb"):
        vectors(tmp_path, TEXTS, Encoder(), "too much", limit=100)


def test_a_model_of_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vectors of shape \(10, 2\) for 10 texts"):
        vectors(tmp_path, TEXTS, lambda texts: np.zeros((len(texts), 2)))


def test_the_journal_holds_one_line_per_shard(tmp_path: Path) -> None:
    vectors(tmp_path, TEXTS, Encoder())
    (folder,) = folders(tmp_path)
    entries = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines() if line]
    assert [(entry["start"], entry["stop"]) for entry in entries] == [(0, 10), (10, 20), (20, 25)]


def test_sizes_are_written_for_people() -> None:
    assert [readable(size) for size in (12, 3400, 5.67e6, 1.5e9)] == ["12 B", "3.4 kB", "5.67 MB", "1.5 GB"]
