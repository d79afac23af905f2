"""Texts on disk: each different one once, in order, with the names that it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.mining.text_store import TextStore, TextWriter, digests_of, distinct_digests

TEXTS = ["b", "a", "b", "", "ü \n\t 𝄞", "a", "c"]


def written(directory: Path, texts: list[str], ids: list[str], block: int = 2) -> TextStore:
    writer = TextWriter(directory, "corpus")
    for start in range(0, len(texts), block):
        writer.add(texts[start : start + block], ids[start : start + block])
    writer.finish()
    return TextStore(directory, "corpus")


@pytest.mark.parametrize("block", [1, 3, 100])
def test_each_different_text_is_there_once_under_its_first_name(block: int, tmp_path: Path) -> None:
    store = written(tmp_path, TEXTS, list("tuvwxyz"), block)
    assert store.texts.to_pylist() == list(dict.fromkeys(TEXTS))
    assert store.ids.to_pylist() == ["t", "u", "w", "x", "z"]
    assert [store.texts[int(code)].as_py() for code in store.codes] == TEXTS
    assert store.rows.tolist() == [0, 1, 3, 4, 6]
    assert np.array_equal(store.digests, digests_of(store.texts.to_pylist()))


def test_texts_are_read_from_the_file_and_not_from_memory(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    store = written(tmp_path, [f"text {i} " + "x" * 1000 for i in range(2000)], [str(i) for i in range(2000)])
    assert len(store.texts) == 2000
    assert store.texts[1999].as_py().startswith("text 1999 ")
    assert pa.total_allocated_bytes() - before < 100_000


def test_nothing_at_all_can_be_stored(tmp_path: Path) -> None:
    store = written(tmp_path, [], [])
    assert len(store.texts) == len(store.codes) == 0


def test_a_name_of_two_different_texts_is_found(tmp_path: Path) -> None:
    (tmp_path / "clear").mkdir()
    assert written(tmp_path, ["a", "b", "c"], ["1", "2", "2"]).ambiguous_id() == "2"
    assert written(tmp_path / "clear", ["a", "b", "b"], ["1", "2", "3"]).ambiguous_id() is None


@given(st.lists(st.integers(0, 5)))
def test_digests_are_told_apart_in_the_order_of_first_appearance(values: list[int]) -> None:
    digests = np.array([[value % 2, value // 2] for value in values], dtype=np.uint64).reshape(-1, 2)
    rows, codes = distinct_digests(digests)
    different = list(dict.fromkeys(values))
    assert [values[row] for row in rows] == different
    assert [different[code] for code in codes] == values
