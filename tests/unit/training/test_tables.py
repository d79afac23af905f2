"""Loading tables: every format gives the same rows, and errors name the source, the column and the remedy."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pytest
from datasets import Dataset, DatasetDict

from training.data import tables
from training.data.tables import load_table
from training.errors import DataError

ROWS = [
    {"query": "what, then?", "text": 'two "quoted"\nlines', "label": 1},
    {"query": "NA", "text": "2024-01-01", "label": 0},
    {"query": "naïve", "text": "", "label": 0},
]
TABLE = pa.Table.from_pylist(ROWS)


def write_csv(path: Path, delimiter: str = ",") -> None:
    def cell(value: Any) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in f'"\n{delimiter}') else text

    lines = [delimiter.join(ROWS[0]), *(delimiter.join(cell(value) for value in row.values()) for row in ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def write_ipc_file(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE)


def write_ipc_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE)


def write_sqlite(path: Path) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute("CREATE TABLE pairs (query TEXT, text TEXT, label INTEGER)")
        database.executemany("INSERT INTO pairs VALUES (:query, :text, :label)", ROWS)
    database.close()


WRITERS: dict[str, Callable[[Path], Any]] = {
    "rows.csv": write_csv,
    "rows.tsv": lambda path: write_csv(path, "\t"),
    "rows.jsonl": write_lines,
    "rows.ndjson": write_lines,
    "lines.json": write_lines,
    "rows.json": lambda path: path.write_text(json.dumps(ROWS)),
    "data.json": lambda path: path.write_text(json.dumps({"version": 1, "data": ROWS})),
    "columns.json": lambda path: path.write_text(json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
    "rows.parquet": lambda path: pa.parquet.write_table(TABLE, path),
    "file.arrow": write_ipc_file,
    "stream.arrow": write_ipc_stream,
    "rows.feather": lambda path: pa.feather.write_feather(TABLE, str(path)),
    "rows.sqlite": write_sqlite,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    """Texts that look like dates, numbers that are missing or line ends are the texts that were written."""
    WRITERS[name](tmp_path / name)
    assert load_table(tmp_path / name).to_list() == ROWS


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json"])
def test_text_formats_may_be_compressed(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert load_table(str(path)).to_list() == ROWS


@pytest.mark.parametrize("nested", [lambda n: n, lambda n: [1, n], lambda n: {"a": [{"b": n}]}])
def test_whole_numbers_are_kept_or_refused(nested: Callable[[int], Any], tmp_path: Path) -> None:
    """Regression: numbers of more than 64 bits, or beside fractions, became the nearest float."""
    path = tmp_path / "x.jsonl"

    def write(*values: Any) -> None:
        path.write_text("".join(json.dumps({"id": nested(value)}) + "\n" for value in values))

    for values in ([7, 2**63 - 1], [0.5, 1e300], [0.5, 2**53]):
        write(*values)
        assert load_table(path)["id"] == [nested(value) for value in values]
    write(7, 12345678901234567890123)
    with pytest.raises(DataError, match=r"row 2: column 'id' holds a number of more than 64 bits; write it as a text"):
        load_table(path)
    write(0.5, 2**53 + 1)
    with pytest.raises(DataError, match=r"row 2: column 'id' holds .*9007199254740993"):
        load_table(path)


def test_the_format_can_be_given(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.txt")
    assert load_table(tmp_path / "rows.txt", format="csv").to_list() == ROWS


def test_a_saved_directory_with_and_without_splits(tmp_path: Path) -> None:
    data = Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    DatasetDict(train=data, test=data.select([0])).save_to_disk(str(tmp_path / "two"))
    assert load_table(tmp_path / "one").to_list() == ROWS
    assert load_table(tmp_path / "two").to_list() == ROWS
    assert load_table(tmp_path / "two", split="test").to_list() == ROWS[:1]
    with pytest.raises(DataError, match="no split 'dev'; give `split`, one of train, test"):
        load_table(tmp_path / "two", split="dev")


def test_columns_are_selected_ordered_and_renamed(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv")
    assert load_table(tmp_path / "rows.csv", columns=["label", "query"]).column_names == ["label", "query"]
    renamed = load_table(tmp_path / "rows.csv", columns={"text": "answer", "query": "text"})
    assert renamed.column_names == ["answer", "text"]
    assert renamed[0] == {"answer": ROWS[0]["text"], "text": ROWS[0]["query"]}


@pytest.mark.parametrize(
    ("split", "rows"),
    [("train", [0, 1, 2]), ("[:2]", [0, 1]), ("train[1:]", [1, 2]), ("[-1:]", [2]), ("[34%:100%]", [1, 2])],
)
def test_a_file_is_one_split_that_can_be_sliced(split: str, rows: list[int], tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv")
    assert load_table(tmp_path / "rows.csv", split=split).to_list() == [ROWS[row] for row in rows]


def test_sql_by_file_url_and_connection(tmp_path: Path) -> None:
    path = tmp_path / "a b%.db"
    write_sqlite(path)
    query = "SELECT text AS answer FROM pairs WHERE label = 0 ORDER BY answer"
    expected = [{"answer": ""}, {"answer": "2024-01-01"}]
    assert load_table(path, sql=query).to_list() == expected
    assert load_table(f"sqlite:///{path}", sql=query).to_list() == expected
    assert load_table("pairs", sql=query, connection=path).to_list() == expected
    database = sqlite3.connect(path)
    assert load_table("pairs", sql=query, connection=database).to_list() == expected
    assert database.execute("SELECT count(*) FROM pairs").fetchone() == (3,), "the caller's connection stays open"
    database.close()


def test_a_database_is_opened_for_reading_only(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "x.db")
    with pytest.raises(DataError, match="readonly"):
        load_table(tmp_path / "x.db", sql="DELETE FROM pairs")


def test_a_hub_id_is_only_loaded_when_it_is_written_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(*args: Any) -> DatasetDict:
        asked.append(args)
        return DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:1]))

    monkeypatch.setattr(tables, "load_dataset", load)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(DataError, match="a dataset of the Hub is written hub:org/name"):
        load_table("org/name")
    assert asked == []
    assert load_table("hub:org/name").to_list() == ROWS
    assert load_table("org/name:config", format="hub", split="test").to_list() == ROWS[:1]
    assert asked == [("org/name", None), ("org/name", "config")]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="offline"):
        load_table("hub:org/name")


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("x.csv", "a,b\n1,2\n3\n", {}, r"x\.csv: cannot be read as csv .*Row #3"),
        ("x.csv", "a,b\n", {}, "no rows"),
        ("x.csv", "a,b\n1,2\n", {"columns": ["c"]}, "no column 'c'; it has 'a', 'b'; correct `columns`"),
        ("x.csv", "a,b\n1,2\n", {"columns": {"a": "z", "b": "z"}}, "gives 'z' twice"),
        ("x.csv", "a,b\n1,2\n", {"columns": ["a", "a"]}, "twice"),
        ("x.csv", "a,b\n1,2\n", {"split": "test"}, "no split 'test': a file"),
        ("x.csv", "a,b\n1,2\n", {"split": "train[1:2:3]"}, "cannot be read; write 'train'"),
        ("x.csv", "a,b\n1,2\n", {"split": "[5:]"}, "holds none of the 1 rows"),
        ("x.csv", "a,b\n1,2\n", {"sql": "SELECT 1"}, "a query, but the format is csv"),
        ("x.csv", "a,b\n1,2\n", {"format": "xls"}, "unknown format 'xls'; it must be one of csv, tsv"),
        ("x.dat", "a,b\n1,2\n", {}, "the name does not tell the format"),
        ("x.jsonl", '{"a": 1}\n{"a": \n', {}, r"x\.jsonl, line 2: not JSON"),
        ("x.jsonl", '{"a": 1}\n[1]\n', {}, "line 2: holds list, not an object"),
        ("x.jsonl", '{"a": 1}\n{"a": "b"}\n', {}, "row 2: column 'a' holds str after values of another type"),
        ("x.json", "3", {}, "holds no list of objects"),
        ("x.json", "[", {}, "cannot be read as json"),
        ("x.json", '{"a": [1, 2], "b": [1]}', {}, "different lengths"),
        ("x.parquet", "no", {}, "cannot be read as parquet"),
        ("x.arrow", "no", {}, "cannot be read as arrow"),
        ("x.db", "no database at all, but long enough to be read", {}, "x.db"),
        ("x.csv.gz", "not compressed", {}, "cannot be read as csv"),
        (
            "x.csv",
            "query,id,query\nwhat,1,who\n",
            {},
            "two columns have the name 'query'; rename one of them in the file",
        ),
        ("x.tsv", "a\t\t\nb\tc\td\n", {}, "two columns have the name ''; rename"),
        ("x.jsonl", "", {}, "the file is empty; write rows into it"),
        ("x.csv", "", {}, "the file is empty; write rows into it"),
    ],
)
def test_wrong_data_is_named_with_its_remedy(
    name: str, content: str, arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_table(path, **arguments)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("x.csv", "a,b\nx,fox\ny,né\n", r"\(In CSV column #1: Row #3: .*invalid UTF8 data\)"),
        ("x.csv", "a,né\nx,fox\n", r"can't decode byte 0xe9"),
        ("x.tsv", "a\tb\nx\tné\n", r"Row #2"),
        ("x.jsonl", '{"a": "fox"}\n{"a": "né"}\n', r"x\.jsonl, after line 0: is not UTF-8"),
        ("x.jsonl", '{"né": "fox"}\n', r"can't decode byte 0xe9"),
        ("x.json", '[{"a": "né"}]', r"can't decode byte 0xe9"),
    ],
)
def test_other_encodings_are_named_with_their_remedy(name: str, content: str, place: str, tmp_path: Path) -> None:
    """Regression: the text was called binary, or had no column of texts."""
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=place) as caught:
        load_table(tmp_path / name)
    assert "is not UTF-8 (" in str(caught.value)
    assert str(caught.value).endswith("; convert it, as with iconv -f latin1 -t utf-8 OLD > NEW")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "lines.json", "rows.json"])
def test_a_byte_order_mark_belongs_to_no_text(name: str, tmp_path: Path) -> None:
    """Editors put it before UTF-8. Regression: JSON was refused with it."""
    WRITERS[name](tmp_path / name)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (tmp_path / name).read_bytes())
    assert load_table(tmp_path / name).to_list() == ROWS


def test_wrong_databases_are_named_with_their_remedy(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    write_sqlite(path)
    with pytest.raises(DataError, match=r"the query failed .*no such column"):
        load_table(path, sql="SELECT missing FROM pairs")
    with pytest.raises(DataError, match="two columns of one name"):
        load_table(path, sql="SELECT label, label FROM pairs")
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE other (a)")
    database.close()
    with pytest.raises(DataError, match=r"holds 2 tables \(pairs, other\); give `sql`"):
        load_table(path)
    with pytest.raises(DataError, match="no such database file"):
        load_table(tmp_path / "missing.db")
    with pytest.raises(DataError, match="no such file; check the path"):
        load_table(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="not a directory that datasets' save_to_disk wrote"):
        load_table(tmp_path)


def test_other_databases_need_sqlalchemy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sqlalchemy", None)
    with pytest.raises(DataError, match="postgresql database: install sqlalchemy") as caught:
        load_table("postgresql://user:secret@host/db", sql="SELECT 1")
    assert "secret" not in str(caught.value)


class Driver:
    """What SQLAlchemy gives for a database that it cannot reach; some drivers repeat the URL."""

    @staticmethod
    def create_engine(url: str) -> Any:
        raise OSError(f"no answer from {url}")


@pytest.mark.parametrize(
    "url",
    ["mysql://me:top@secret@host/db", "mysql://host/db?user=me&password=secret", "mysql://me:secret@host/db?ssl=1"],
)
def test_no_message_shows_the_password_of_a_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sqlalchemy", Driver)
    for given in ({"sql": "SELECT 1"}, {"split": "test"}, {"split": "a]"}):
        with pytest.raises(DataError, match=r"mysql://.*\*\*\*") as caught:
            load_table(url, **given)  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
        assert "host/db" in str(caught.value)


def test_categories_of_pandas_are_texts(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()})
    pa.parquet.write_table(table, tmp_path / "x.parquet")
    assert load_table(tmp_path / "x.parquet").features["a"].dtype == "string"


def test_views_of_texts_are_texts(tmp_path: Path) -> None:
    """Regression: as polars writes them, they were no texts for a trainer."""
    views = {"a": pa.array(["x", "y"], pa.string_view()), "b": pa.array([["x"], []], pa.list_(pa.string_view()))}
    with pa.ipc.new_file(tmp_path / "x.arrow", pa.table(views).schema) as writer:
        writer.write_table(pa.table(views))
    table = load_table(tmp_path / "x.arrow")
    assert table.to_list() == [{"a": "x", "b": ["x"]}, {"a": "y", "b": []}]
    assert [table.data.schema.field(name).type for name in "ab"] == [pa.string(), pa.list_(pa.string())]
