"""Blocks of text columns: the same from every format, with errors that name the row."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.mining.files import make_pairs, write_rows
from training.errors import DataError
from training.mine_recipe import TextFile
from training.mining import text_blocks
from training.mining.text_blocks import read_blocks

SUFFIXES = [".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ""]


def read(root: Path, path: str, *needed: str, optional: tuple[str, ...] = (), **keys: Any) -> list[dict[str, Any]]:
    """The rows of all blocks."""
    rows = []
    for block in read_blocks(TextFile(path=Path(path), **keys), root, needed, optional):
        for name in block.columns:
            block.texts(name)
        rows += [dict(zip(block.columns, values, strict=True)) for values in zip(*block.columns.values(), strict=True)]
    return rows


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows_in_small_blocks(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_blocks, "ROWS_PER_BLOCK", 3)
    rows = make_pairs()
    write_rows(tmp_path / f"pairs{suffix}", [{"number": i, **row} for i, row in enumerate(rows)])
    assert read(tmp_path, f"pairs{suffix}", "query", "answer", optional=("label",)) == rows


def test_a_pattern_reads_its_files_by_name_and_gzip_is_seen_through(tmp_path: Path) -> None:
    rows = make_pairs(4)
    for number in (1, 0):
        path = write_rows(tmp_path / f"part-{number}.jsonl", rows[2 * number : 2 * number + 2])
        (tmp_path / f"part-{number}.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read(tmp_path, "part-*.jsonl.gz", "query", "answer") == rows
    assert read(tmp_path, "part-0.jsonl", "query", "answer") == rows[:2]
    with pytest.raises(DataError, match="no file fits the pattern"):
        read(tmp_path, "passages-*.jsonl", "query")


def test_numbers_in_a_csv_column_of_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("query,answer\n007,1e3\n")
    assert read(tmp_path, "codes.csv", "query", "answer") == [{"query": "007", "answer": "1e3"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_split_chooses_rows_by_the_column_of_that_name(suffix: str, tmp_path: Path) -> None:
    write_rows(tmp_path / f"pairs{suffix}", [{"query": "a", "split": "train"}, {"query": "b", "split": "dev"}])
    assert read(tmp_path, f"pairs{suffix}", "query", split="dev") == [{"query": "b", "split": "dev"}]
    write_rows(tmp_path / f"plain{suffix}", [{"query": "a"}])
    with pytest.raises(DataError, match="no column 'split'; it has 'query'; remove the key"):
        read(tmp_path, f"plain{suffix}", "query", split="dev")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_column_is_named_with_those_that_are_there(suffix: str, tmp_path: Path) -> None:
    write_rows(tmp_path / f"pairs{suffix}", [{"question": "a", "reply": "b"}])
    with pytest.raises(DataError, match=r"pairs.*: no column 'query'; it has 'question', 'reply'"):
        read(tmp_path, f"pairs{suffix}", "query")


def test_a_value_that_is_no_text_is_named_by_line_or_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"query": "a"}, {"query": 7}])
    with pytest.raises(DataError, match=r"pairs\.jsonl, line 2: column 'query' is int, but text is needed"):
        read(tmp_path, "pairs.jsonl", "query")
    write_rows(tmp_path / "pairs.parquet", [{"query": 6}, {"query": 7}])
    with pytest.raises(DataError, match=r"pairs\.parquet, row 0: column 'query' is int"):
        read(tmp_path, "pairs.parquet", "query")
    (tmp_path / "half.jsonl").write_text('{"query": "\\ud83d"}\n')
    with pytest.raises(DataError, match=r"half\.jsonl, line 1: column 'query' holds half of a character"):
        read(tmp_path, "half.jsonl", "query")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.parquet: no such file"):
        read(tmp_path, "absent.parquet", "query")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"torn\.parquet: cannot be read as parquet"):
        read(tmp_path, "torn.parquet", "query")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty\.csv: cannot be read as csv"):
        read(tmp_path, "empty.csv", "query")


def test_format_says_what_a_file_is_whose_name_does_not(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.csv", make_pairs(2)).rename(tmp_path / "pairs.txt")
    assert read(tmp_path, "pairs.txt", "query", format="csv") == [{"query": row["query"]} for row in make_pairs(2)]
    with pytest.raises(DataError, match="the name does not tell the format"):
        read(tmp_path, "pairs.txt", "query")


def test_a_database_is_read_with_its_query(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "faq.sqlite") as database:
        database.execute("create table faq (question text, answer text)")
        database.execute("insert into faq values ('why', 'because')")
    database.close()
    rows = read(tmp_path, "faq.sqlite", "query", sql="select question as query from faq")
    assert rows == [{"query": "why"}]
