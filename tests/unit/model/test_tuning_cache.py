"""What is kept between starts, and what happens where nothing can be."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.model.tuning_cache import TuningCache, user_cache_directory

KEY = {"cpu": "fast", "candidates": [["onnx", "a.onnx", "fp32"]]}


def test_what_was_written_is_read_for_the_same_key_only(tmp_path: Path) -> None:
    cache = TuningCache(tmp_path / "new")
    assert cache.read(KEY) == {}
    cache.write(KEY, {"choice": ["onnx"]})
    cache.write(KEY, {"choice": ["openvino"]})
    assert cache.read(KEY) == {"choice": ["openvino"]}
    assert cache.read({**KEY, "cpu": "slow"}) == {}
    assert len(list((tmp_path / "new/tuning").iterdir())) == 1, "no temporary file is left"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"key": {}, "result": 3}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = TuningCache(tmp_path)
    cache.write(KEY, {"choice": ["onnx"]})
    cache.path(KEY).write_text(text)
    with caplog.at_level(logging.WARNING):
        assert cache.read(KEY) == {}
    cache.write(KEY, {"choice": ["openvino"]})
    assert cache.read(KEY) == {"choice": ["openvino"]}


def test_an_unwritable_directory_is_logged_and_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = TuningCache(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        cache.write(KEY, {})
    assert "not writable" in caplog.text
    assert cache.read(KEY) == {}


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({"HOME": "/h"}, "linux", "/h/.cache/crossrank"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "linux", "/x/crossrank"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/crossrank"),
        ({"HOME": "/h", "LOCALAPPDATA": "/l"}, "win32", "/l/crossrank/Cache"),
    ],
)
def test_the_platform_says_where_caches_belong(environment: dict[str, str], platform: str, expected: str) -> None:
    assert user_cache_directory(environment, platform) == Path(expected)


def test_a_directory_that_is_given_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert TuningCache.at("").directory == tmp_path / "x" / "crossrank"
    assert TuningCache.at(str(tmp_path)).directory == tmp_path
