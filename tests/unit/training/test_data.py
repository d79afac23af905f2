"""Reading data files: what comes out, and errors that point at the line."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.training.conftest import FACTS, write_lines
from training.data.beir import read_pool, read_retrieval
from training.data.pairs import Pair, read_pairs
from training.errors import DataError


def test_a_beir_directory_is_read_plain_or_compressed(data_root: Path) -> None:
    data = read_retrieval(data_root / "facts", "train")
    assert data.corpus["d0"] == FACTS[0][1]
    assert data.queries["q1"] == FACTS[1][0]
    assert data.qrels["q0"] == {"d0": 1.0, "d1": 0.0}
    assert data.relevant("q0") == ["d0"]


def test_a_title_is_put_before_the_text(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.jsonl", [{"_id": "d", "title": "Paris", "text": "A city."}])
    write_lines(tmp_path / "queries.jsonl", [{"_id": "q", "text": "?"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t2\n")
    assert read_retrieval(tmp_path, "test").corpus == {"d": "Paris A city."}


def test_a_judgment_of_an_unknown_document_is_an_error(data_root: Path, tmp_path: Path) -> None:
    for name in ("corpus.jsonl.gz", "queries.jsonl"):
        (tmp_path / name).write_bytes((data_root / "facts" / name).read_bytes())
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tmissing\t1\n")
    with pytest.raises(DataError, match=r"test\.tsv, line 2: no text has the id 'missing'"):
        read_retrieval(tmp_path, "test")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q0\td0", "has 2 of 3"),
        ("q0\td0\tyes", "column 'score' is 'yes'"),
        ("q0\td0\tnan", "column 'score' is 'nan', not a number; correct it"),
        ("q0\td0\t-inf", "column 'score' is '-inf', not a number"),
    ],
)
def test_broken_judgments_are_named_by_line(data_root: Path, tmp_path: Path, row: str, message: str) -> None:
    for name in ("corpus.jsonl.gz", "queries.jsonl"):
        (tmp_path / name).write_bytes((data_root / "facts" / name).read_bytes())
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{row}\n")
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        read_retrieval(tmp_path, "test")


def beir(directory: Path, qrels: str, documents: Sequence[str] = ("fox", "cat")) -> Path:
    """Documents d0, d1, ... and 0, 1, ... and the queries q0 and q1."""
    rows = [{"_id": f"{prefix}{i}", "text": text} for prefix in ("d", "") for i, text in enumerate(documents)]
    write_lines(directory / "corpus.jsonl", rows)
    write_lines(directory / "queries.jsonl", [{"_id": f"q{i}", "text": f"who {i}"} for i in range(2)])
    (directory / "qrels").mkdir(exist_ok=True)
    (directory / "qrels" / "test.tsv").write_text(qrels)
    return directory


@pytest.mark.parametrize("heading", ["", "query-id\tcorpus-id\tscore\n", "\nh\th\th\n", "query document grade\n"])
def test_the_first_judgment_is_read_with_and_without_a_heading(heading: str, tmp_path: Path) -> None:
    """Regression: the first line was taken for a heading whatever it held."""
    data = read_retrieval(beir(tmp_path, f"{heading}q0\td0\t1\nq1\td1\t2\n"), "test")
    assert data.qrels == {"q0": {"d0": 1.0}, "q1": {"d1": 2.0}}


@pytest.mark.parametrize("line", ["q0 0 d0 1", "q0\t0\td0\t1", "q0\tQ0\td0\t1", "q0\t0\t1\t1"])
def test_judgments_in_trec_s_four_columns_are_refused(line: str, tmp_path: Path) -> None:
    """Even where the document ids are numbers, so that each line could be one of three columns and a further one."""
    with pytest.raises(DataError, match=r"test\.tsv, line 1: has TREC's four columns; write query id, document id"):
        read_retrieval(beir(tmp_path, f"{line}\n{line}\n"), "test")


def test_a_first_judgment_without_tabs_is_no_heading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: has 1 of 3 tab-separated columns"):
        read_retrieval(beir(tmp_path, "q0 d0 1\n"), "test")


@pytest.mark.parametrize("name", ["corpus", "queries"])
def test_an_id_names_one_text(name: str, tmp_path: Path) -> None:
    """Regression: the earlier text was lost without a word. The same row twice does no harm."""
    path = beir(tmp_path, "h\th\th\nq0\td0\t1\n") / f"{name}.jsonl"
    rows: list[dict[str, object]] = [{"_id": f"{name[0].replace('c', 'd')}0", "text": text} for text in "aab"]
    write_lines(path, rows[:2])
    assert read_retrieval(tmp_path, "test").relevant("q0") == ["d0"]
    write_lines(path, rows)
    with pytest.raises(
        DataError, match=rf"{name}\.jsonl, line 3: an earlier line has another text of the id '.0'; ren"
    ):
        read_retrieval(tmp_path, "test")


def test_pools_come_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    (tmp_path / "pool.tsv").write_text("query-id\tcorpus-id\trank\tscore\nq\tb\t2\t0\nq\ta\t1\t0\nq\tc\t10\t0\n")
    assert read_pool(tmp_path / "pool.tsv") == {"q": ["a", "b", "c"]}
    (tmp_path / "pool.tsv").write_text("q\tb\t2\t0\nq\t0\t1\t0\n")
    assert read_pool(tmp_path / "pool.tsv") == {"q": ["0", "b"]}, "without a heading"
    (tmp_path / "pool.tsv").write_text("q\tb\t2\nq\ta\tnan\n")
    with pytest.raises(DataError, match=r"pool\.tsv, line 2: column 'rank' is 'nan', not a number; correct it"):
        read_pool(tmp_path / "pool.tsv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "a"}', "line 1: column 'answer' is missing"),
        ('{"query": "a", "answer": null}', "column 'answer' is NoneType"),
        ('{"query": "a", "answer": "b", "label": 0.5}', "column 'label' is 0.5"),
        ('["a", "b"]', "holds list, not an object"),
        ("query,answer", "line 1: not JSON"),
        ("", "the file is empty; write rows into it"),
        ("\n", "no row of split 'train'"),
    ],
)
def test_broken_pairs_are_named_by_line_and_column(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "pairs.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        read_pairs(tmp_path / "pairs.jsonl", "train")


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_a_byte_order_mark_and_other_encodings(name: str, tmp_path: Path) -> None:
    """Regression: the mark that some editors put before UTF-8 was called no JSON."""
    compressed = gzip.compress if name.endswith(".gz") else bytes
    text = '{"query": "a", "answer": "né"}\n'
    (tmp_path / name).write_bytes(compressed(text.encode("utf-8-sig")))
    assert read_pairs(tmp_path / name, "train") == [Pair("a", "né", True)]
    (tmp_path / name).write_bytes(compressed(text.encode("latin-1")))
    with pytest.raises(DataError, match=r"after line 0: is not UTF-8 \(.*\); convert it, as with iconv -f latin1"):
        read_pairs(tmp_path / name, "train")


def test_pairs_keep_their_split_and_label(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query": "a", "answer": "b", "label": 0, "split": "train"},
        {"query": "c", "answer": "d", "split": "test"},
        {"query": "e", "answer": "f"},
    ]
    write_lines(tmp_path / "pairs.jsonl.gz", rows)
    assert read_pairs(tmp_path / "pairs.jsonl", "train") == [Pair("a", "b", False), Pair("e", "f", True)]


def test_a_slice_of_pairs_is_taken_as_of_a_table(tmp_path: Path) -> None:
    """Of the rows of the split that it names, of those of "train" without a name: others are not to be trained on."""
    splits = ["train", "test", "train", "train", "test"]
    rows: list[dict[str, object]] = [{"query": str(i), "answer": "x", "split": name} for i, name in enumerate(splits)]
    write_lines(tmp_path / "pairs.jsonl", rows)
    found = {split: [pair.query for pair in read_pairs(tmp_path / "pairs.jsonl", split)] for split in SLICES}
    assert found == SLICES
    with pytest.raises(DataError, match=r"split 'test\[2:\]' holds none of the 2 rows; correct its bounds"):
        read_pairs(tmp_path / "pairs.jsonl", "test[2:]")


SLICES = {
    "train[:2]": ["0", "2"],
    "train[-1:]": ["3"],
    "test[:50%]": ["1"],
    "[1:]": ["2", "3"],
    "train": ["0", "2", "3"],
}


def test_missing_and_truncated_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file, nor with \.gz"):
        read_pairs(tmp_path / "absent.jsonl", "train")
    write_lines(tmp_path / "cut.jsonl.gz", [{"query": "a", "answer": "b"}])
    whole = (tmp_path / "cut.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-10])
    with pytest.raises(DataError, match="copy the file again"):
        read_pairs(tmp_path / "cut.jsonl", "train")
