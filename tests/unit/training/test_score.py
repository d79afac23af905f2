"""`rerank-training score`: every row with its score, in any format, written whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from app.model.cross_encoder import CrossEncoder
from tests.unit.training.conftest import FACTS
from training import score
from training.__main__ import main


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Pairs with a number beside them."""
    rows = {"id": list(range(8)), "query": [query for query, _ in FACTS], "answer": [answer for _, answer in FACTS]}
    path = tmp_path / "pairs.parquet"
    datasets.Dataset.from_dict(rows).to_parquet(str(path))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of an output."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return list(pa.parquet.read_table(path).to_pylist())
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t"))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_scores_are_those_of_the_service_in_every_format(
    suffix: str, table: Path, reranker_dir: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"scored{suffix}"
    assert main(["score", str(reranker_dir), str(table), "--output", str(output), "--chunk", "3"]) == 0
    rows = read(output)
    assert list(rows[0]) == ["id", "query", "answer", "score"]
    assert [(row["query"], row["answer"]) for row in rows] == FACTS
    expected = CrossEncoder.load(reranker_dir).predict(FACTS)
    assert np.allclose([float(row["score"]) for row in rows], expected, atol=1e-6)
    assert output.stat().st_mode & 0o777 == table.stat().st_mode & 0o777
    assert {path.name for path in tmp_path.iterdir()} == {table.name, output.name}


def test_each_label_has_its_column_and_columns_can_be_chosen(table: Path, classifier_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "scored.jsonl"
    command = ["score", str(classifier_dir), str(table), "--output", str(output), "--backend", "torch"]
    assert main([*command, "--columns", "answer", "query", "--split", "[:4]", "--score-column", "p"]) == 0
    rows = read(output)
    model = CrossEncoder.load(classifier_dir, backend="torch")
    names = [f"p_{label}" for label in model.artifact.labels]
    expected = model.predict([(answer, query) for query, answer in FACTS[:4]])
    assert np.allclose([[row[name] for name in names] for row in rows], expected, atol=1e-6)


def test_max_length_cuts_pairs(table: Path, reranker_dir: Path, tmp_path: Path) -> None:
    """To the scores of the model with that limit, which are others than those of whole pairs."""
    output = tmp_path / "scored.jsonl"
    assert main(["score", str(reranker_dir), str(table), "--output", str(output), "--max-length", "8"]) == 0
    ours = [row["score"] for row in read(output)]
    assert np.allclose(ours, CrossEncoder.load(reranker_dir, max_length=8).predict(FACTS), atol=1e-6)
    assert not np.allclose(ours, CrossEncoder.load(reranker_dir).predict(FACTS), atol=1e-6)


def test_the_backend_is_the_one_that_was_asked_for(
    table: Path, reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its weights only the graph's own runtimes can load the model."""
    graph_only = tmp_path / "graph_only"
    shutil.copytree(reranker_dir, graph_only, ignore=shutil.ignore_patterns("*.safetensors"))
    command = ["score", str(graph_only), str(table), "--output", str(tmp_path / "scored.jsonl")]
    assert main([*command, "--backend", "openvino"]) == 0
    assert main([*command, "--overwrite", "--backend", "torch"]) == 2
    assert "model.safetensors" in capsys.readouterr().err


def test_format_says_what_a_name_does_not(table: Path, reranker_dir: Path, tmp_path: Path) -> None:
    """A table in a file without a telling suffix, which is an error otherwise."""
    unnamed = table.rename(tmp_path / "pairs.data")
    command = ["score", str(reranker_dir), str(unnamed), "--output", str(tmp_path / "scored.jsonl")]
    assert main(command) == 2
    assert main([*command, "--format", "parquet"]) == 0
    assert len(read(tmp_path / "scored.jsonl")) == len(FACTS)


def test_sql_chooses_rows_of_a_database(reranker_dir: Path, tmp_path: Path) -> None:
    """And names the columns."""
    with closing(sqlite3.connect(tmp_path / "pairs.db")) as database:
        database.execute("CREATE TABLE pairs (question TEXT, answer TEXT)")
        database.executemany("INSERT INTO pairs VALUES (?, ?)", FACTS)
        database.commit()
    output = tmp_path / "scored.jsonl"
    query = "SELECT question AS query, answer FROM pairs ORDER BY rowid LIMIT 3"
    command = ["score", str(reranker_dir), str(tmp_path / "pairs.db"), "--output", str(output)]
    assert main([*command, "--sql", query]) == 0
    assert [(row["query"], row["answer"]) for row in read(output)] == FACTS[:3]


CODES = ["007", "1.10", "12345678901234567890123", "true", "", "2024-01-01", "1e3", "x"]


def write_codes(path: Path, codes: Sequence[str]) -> list[dict[str, str]]:
    """Pairs behind a column of codes."""
    rows = [{"code": code, "query": pair[0], "answer": pair[1]} for code, pair in zip(codes, FACTS, strict=True)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.mark.parametrize("codes", [CODES, *([code] * 8 for code in CODES)], ids=["mixed", *CODES])
@pytest.mark.parametrize(("suffix", "written"), [(".csv", ".csv"), (".tsv", ".jsonl"), (".csv", ".parquet")])
def test_values_come_out_as_they_were_written(
    suffix: str, written: str, codes: list[str], reranker_dir: Path, tmp_path: Path
) -> None:
    """Regression: 007 came out as 7, 1.10 as 1.1 and a long id as 1.2345678901234568e+22."""
    rows = write_codes(tmp_path / f"pairs{suffix}", codes)
    output = tmp_path / f"out{written}"
    command = ["score", str(reranker_dir), str(tmp_path / f"pairs{suffix}"), "--output", str(output)]
    assert main([*command, "--columns", "query", "answer"]) == 0
    assert [{name: row[name] for name in rows[0]} for row in read(output)] == rows


def test_numbers_are_texts_only_where_they_are_asked_for(
    reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So ids before the pair are not taken for the query."""
    rows = write_codes(tmp_path / "pairs.csv", ["007"] * 8)
    command = ["score", str(reranker_dir), str(tmp_path / "pairs.csv"), "--output", str(tmp_path / "out.csv")]
    model = CrossEncoder.load(reranker_dir)
    assert main(command) == 0
    assert np.allclose([float(row["score"]) for row in read(tmp_path / "out.csv")], model.predict(FACTS), atol=1e-6)
    assert main([*command, "--overwrite", "--columns", "query", "code"]) == 0
    expected = model.predict([(row["query"], row["code"]) for row in rows])
    assert np.allclose([float(row["score"]) for row in read(tmp_path / "out.csv")], expected, atol=1e-6)
    (tmp_path / "pairs.csv").write_text("query,answer\nwhen,1984\n")
    assert main([*command, "--overwrite"]) == 2
    assert "has 1 columns of texts, but a pair needs two; name two with --columns" in capsys.readouterr().err


def test_files_may_differ_in_what_their_values_look_like(reranker_dir: Path, tmp_path: Path) -> None:
    """Regression: codes that are all numbers in one file only were columns of different types."""
    (tmp_path / "pairs").mkdir()
    rows = [
        row
        for name, code in (("a", "007"), ("b", "b7"), ("c", "1.10"))
        for row in write_codes(tmp_path / "pairs" / f"{name}.csv", [code] * 8)
    ]
    assert main(["score", str(reranker_dir), str(tmp_path / "pairs"), "--output", str(tmp_path / "out.jsonl")]) == 0
    assert [row["code"] for row in read(tmp_path / "out.jsonl")] == [row["code"] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "out.xlsx"], "must end in one of"),
        (["--output", "absent/out.csv"], "create it first"),
        (["--output", "pairs.parquet"], "--overwrite"),
        (["--output", "out.csv", "--columns", "query", "text"], "no column 'text'; it has id, query, answer"),
        (["--output", "out.csv", "--columns", "query", "id"], "'id' holds no texts"),
        (["--output", "out.csv", "--score-column", "answer"], "--score-column"),
        (["--output", "out.csv", "--chunk", "0"], "must be 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    arguments: list[str],
    message: str,
    table: Path,
    reranker_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(table.parent)
    assert main(["score", str(reranker_dir), table.name, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(table.parent.iterdir()) == [table]


def test_a_row_without_text_is_named_and_nothing_is_left(
    reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.parquet"
    datasets.Dataset.from_dict({"a": ["x"] * 6, "b": ["y"] * 5 + [None]}).to_parquet(str(path))
    assert main(["score", str(reranker_dir), str(path), "--output", str(tmp_path / "out.csv"), "--chunk", "2"]) == 2
    assert "pairs.parquet, row 5: column 'b' is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_an_earlier_output_is_replaced_only_when_the_new_one_is_complete(
    table: Path, reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("earlier\n")
    command = ["score", str(reranker_dir), str(table), "--output", str(output), "--overwrite"]

    def interrupted(*_: Any) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(score, "texts_of", interrupted)
        assert main(command) == 130
    assert output.read_text() == "earlier\n"
    assert main(command) == 0
    assert len(read(output)) == 8


TERMINATED = """
import os, sys
from training import score
from training.__main__ import main

texts_of = score.texts_of

def terminated(block, name, start, source):
    if start == 4:
        os.kill(os.getpid(), int(sys.argv[1]))
    return texts_of(block, name, start, source)

score.texts_of = terminated
sys.exit(main(["score", *sys.argv[2:]]))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_nothing_half_written(
    sent: signal.Signals, table: Path, reranker_dir: Path, tmp_path: Path
) -> None:
    command = [str(reranker_dir), str(table), "--output", str(tmp_path / "out.csv"), "--chunk", "2"]
    stopped = subprocess.run(
        [sys.executable, "-c", TERMINATED, str(int(sent)), *command],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr.endswith("interrupted; nothing half-written is left behind\n")
    assert list(tmp_path.iterdir()) == [table]
