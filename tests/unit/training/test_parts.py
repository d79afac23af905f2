"""Tables in several files: which they are, and that they are scored as one."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.unit.training.conftest import FACTS
from training.__main__ import main
from training.data.parts import table_parts
from training.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The facts in two files, and notes beside them."""
    directory = tmp_path / "pairs"
    directory.mkdir()
    for name, pairs in (("b", FACTS[5:]), ("a", FACTS[:5])):
        queries, answers = zip(*pairs, strict=True)
        pa.parquet.write_table(pa.table({"query": queries, "answer": answers}), directory / f"{name}.parquet")
    (directory / "README.md").write_text("notes")
    return directory


def test_patterns_and_directories_are_their_tables_by_name(folder: Path, tmp_path: Path) -> None:
    both = [str(folder / "a.parquet"), str(folder / "b.parquet")]
    assert table_parts(str(folder)) == table_parts(str(folder / "*.parquet")) == both
    assert table_parts(both[1]) == both[1:]
    odd = folder / "odd[1].csv"
    odd.write_text("x")
    assert table_parts(str(odd)) == [str(odd)]
    saved = tmp_path / "saved"
    datasets.Dataset.from_dict({"a": ["x"]}).save_to_disk(str(saved))
    assert table_parts(str(saved)) == [str(saved)]
    assert table_parts("hub:owner/name") == ["hub:owner/name"]
    with pytest.raises(DataError, match="no file fits the pattern"):
        table_parts(str(folder / "*.jsonl"))


def test_files_are_scored_one_after_another_into_one_output(folder: Path, reranker_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert main(["score", str(reranker_dir), str(folder), "--output", str(output), "--chunk", "2"]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["query"], row["answer"]) for row in rows] == FACTS
    assert all(0 < row["score"] < 1 for row in rows)


def test_files_that_differ_and_splits_of_several_files_are_refused(
    folder: Path, reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", str(reranker_dir), str(folder), "--output", str(tmp_path / "out.csv")]
    assert main([*command, "--split", "[:3]"]) == 2
    assert "--split is for one table, but these are 2 files" in capsys.readouterr().err
    pa.parquet.write_table(pa.table({"query": ["x"]}), folder / "c.parquet")
    assert main(command) == 2
    assert "c.parquet: its columns or their types differ from those of" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
