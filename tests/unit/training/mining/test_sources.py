"""From files to a problem: which texts, which right answers, what was left out, and errors that name the row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.mining.files import Row, make_pairs, recipe_of, write_beir, write_rows
from training.errors import DataError
from training.mining.sources import Source, load_source

PAIRS = make_pairs()


def load(root: Path, **keys: Any) -> Source:
    return load_source(recipe_of(root, **keys), root / "cache", progress=False)


def right_answers(source: Source) -> dict[str, list[str]]:
    """Texts of the right answers by query."""
    positives, corpus = source.problem.positives, source.problem.corpus
    return {
        query: [
            corpus[int(i)].as_py() for i in positives.documents[positives.offsets[row] : positives.offsets[row + 1]]
        ]
        for row, query in enumerate(source.problem.queries.to_pylist())
    }


EXPECTED = {row["query"]: [row["answer"]] for row in PAIRS}


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "pairs.parquet", "pairs.arrow", "pairs", "beir"])
def test_pairs_of_every_format_pose_the_same_problem(name: str, tmp_path: Path) -> None:
    if name == "beir":
        write_beir(tmp_path / name, PAIRS)
    else:
        write_rows(tmp_path / name, PAIRS)
    source = load(tmp_path, pairs={"path": name})
    assert right_answers(source) == EXPECTED
    assert source.problem.corpus.to_pylist() == [row["answer"] for row in PAIRS]
    assert list(source.files) == (
        [f"beir/{f}" for f in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv")]
        if name == "beir"
        else list(source.files)
    )
    assert all(len(value) == 64 for value in source.files.values())


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "faq.csv", [{"id": i, "reply": row["answer"], "asked": row["query"]} for i, row in enumerate(PAIRS)]
    )
    source = load(tmp_path, pairs={"path": "faq.csv", "query": "asked", "answer": "reply"})
    assert right_answers(source) == EXPECTED


def test_a_repeated_query_has_several_right_answers_and_a_repeated_row_counts_once(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [*PAIRS, {**PAIRS[0], "answer": PAIRS[5]["answer"]}, PAIRS[1]])
    source = load(tmp_path)
    assert right_answers(source) == {**EXPECTED, PAIRS[0]["query"]: [PAIRS[0]["answer"], PAIRS[5]["answer"]]}
    assert source.problem.max_positives == 2
    assert source.counts["repeated queries"] == 2
    assert source.counts["repeated documents"] == 2
    assert (source.counts["queries"], source.counts["right answers"]) == (20, 21)


def test_rows_labelled_0_are_no_right_answers_but_documents(tmp_path: Path) -> None:
    for name, labels in (("pairs.jsonl", (1, 0)), ("pairs.csv", ("1", "0")), ("pairs.parquet", (True, False))):
        rows = [{**row, "label": labels[0]} for row in PAIRS]
        write_rows(tmp_path / name, [*rows, {"query": PAIRS[0]["query"], "answer": "wrong", "label": labels[1]}])
        source = load(tmp_path, pairs={"path": name})
        assert right_answers(source) == EXPECTED
        assert source.problem.corpus.to_pylist()[-1] == "wrong"
        assert source.counts["pairs marked as wrong"] == 1
    source = load(tmp_path, pairs={"path": "pairs.jsonl", "label": "other"})
    assert source.counts["pairs marked as wrong"] == 0


def test_a_label_that_is_neither_0_nor_1_is_refused_by_line(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{**PAIRS[0], "label": 1}, {**PAIRS[1], "label": 2}])
    with pytest.raises(DataError, match=r"pairs\.jsonl, line 2: column 'label' is 2; it must be 0 or 1"):
        load(tmp_path)


def test_a_corpus_adds_documents_with_names_and_titles(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    rows = [{"key": 10 + i, "head": "city", "body": f"river {i}"} for i in range(3)]
    write_rows(tmp_path / "corpus.parquet", [*rows, {"key": 14, "head": "", "body": PAIRS[2]["answer"]}])
    corpus = {"path": "corpus.parquet", "text": "body", "title": "head", "id": "key"}
    source = load(tmp_path, corpus=corpus)
    texts = source.problem.corpus.to_pylist()
    assert texts[:4] == ["city river 0", "city river 1", "city river 2", PAIRS[2]["answer"]]
    assert len(texts) == 3 + len(PAIRS)
    assert source.documents.ids.to_pylist()[:4] == ["10", "11", "12", "14"]
    assert right_answers(source) == EXPECTED
    plain = load(tmp_path, corpus={"path": "corpus.parquet", "text": "body"})
    assert plain.problem.corpus[0].as_py() == "river 0"
    assert plain.documents.ids[0].as_py() == "d0"


def test_limit_draws_queries_with_the_seed_and_keeps_all_documents(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    drawn = [load(tmp_path, pairs={"path": "pairs.jsonl", "limit": 5}, seed=seed) for seed in (0, 0, 1)]
    asked = [right_answers(source) for source in drawn]
    assert asked[0] == asked[1] != asked[2]
    assert all(item in EXPECTED.items() for item in asked[0].items())
    assert len(asked[0]) == 5
    assert len(drawn[0].problem.corpus) == len(PAIRS)


def test_split_chooses_the_judgments_of_a_beir_directory(tmp_path: Path) -> None:
    write_beir(tmp_path / "beir", PAIRS)
    (tmp_path / "beir" / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td4\t2\nq3\td3\t0\n")
    source = load(tmp_path, pairs={"path": "beir", "split": "dev"})
    assert right_answers(source) == {PAIRS[3]["query"]: [PAIRS[4]["answer"]]}
    assert source.problem.query_ids == ["q3"]


def test_prepared_texts_are_used_again_unless_a_file_or_key_changes(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    prepared: Callable[[], int] = lambda: len(list((tmp_path / "cache" / "texts").iterdir()))  # noqa: E731
    load(tmp_path)
    load(tmp_path, pairs={"path": "pairs.jsonl", "limit": 3})
    assert prepared() == 1
    load(tmp_path, pairs={"path": "pairs.jsonl", "skip_empty": True})
    assert prepared() == 2
    write_rows(tmp_path / "pairs.jsonl", PAIRS[:9])
    assert len(right_answers(load(tmp_path))) == 9


@pytest.mark.parametrize("empty", [None, "", "  \n"])
@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet"])
def test_a_row_without_text_is_named_and_can_be_skipped(name: str, empty: str | None, tmp_path: Path) -> None:
    write_rows(tmp_path / name, [*PAIRS, {"query": "what city", "answer": empty}])
    place = "line 21" if name == "pairs.jsonl" else "row 20"
    with pytest.raises(DataError, match=rf"{name}, {place}: column 'answer' is empty; .* pairs\.skip_empty = true"):
        load(tmp_path, pairs={"path": name})
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    source = load(tmp_path, pairs={"path": name, "skip_empty": True})
    assert right_answers(source) == EXPECTED
    assert source.counts["rows without text"] == 1


def test_an_empty_document_of_a_corpus_is_named_with_its_section(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    write_rows(tmp_path / "corpus.csv", [{"text": "a"}, {"text": ""}])
    with pytest.raises(DataError, match=r"corpus\.csv, row 1: column 'text' is empty; .* corpus\.skip_empty"):
        load(tmp_path, corpus={"path": "corpus.csv"})
    assert len(load(tmp_path, corpus={"path": "corpus.csv", "skip_empty": True}).problem.corpus) == 21


def beir_with(tmp_path: Path, judgments: str) -> None:
    write_beir(tmp_path / "beir", PAIRS)
    (tmp_path / "beir" / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judgments}")


@pytest.mark.parametrize(
    ("judgments", "message"),
    [
        ("q0\td0\t1\nq1\td99\t1\n", r"train\.tsv, line 3: no text has the id 'd99'"),
        ("q0\td0\t1\nqx\td1\t1\n", r"train\.tsv, line 3: no text has the id 'qx'"),
        ("q0\td0\tyes\n", r"train\.tsv, line 2: column 'score' is 'yes'"),
        ("q0\td0\t0\n", r"beir: holds no right answer to any query"),
    ],
)
def test_judgments_that_lead_nowhere_are_named(judgments: str, message: str, tmp_path: Path) -> None:
    beir_with(tmp_path, judgments)
    with pytest.raises(DataError, match=message):
        load(tmp_path, pairs={"path": "beir"})


def test_a_name_of_two_documents_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    rows: list[Row] = [{"id": "x", "text": "one"}, {"id": "x", "text": "two"}]
    write_rows(tmp_path / "corpus.jsonl", rows)
    with pytest.raises(DataError, match="two different texts of the corpus have the id 'x'"):
        load(tmp_path, corpus={"path": "corpus.jsonl", "id": "id"})
    write_rows(tmp_path / "corpus.jsonl", [rows[0], {"id": None, "text": "two"}])
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 2: column 'id' holds no id"):
        load(tmp_path, corpus={"path": "corpus.jsonl", "id": "id"})
