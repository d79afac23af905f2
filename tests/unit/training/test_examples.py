"""The choice of negatives, and examples as a whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import datasets
import numpy as np
import pytest

from tests.unit.training.conftest import FACTS
from training.commands.data import load_parts, training_data
from training.errors import DataError
from training.negatives import choose, near_copy
from training.recipe import Dataset, Negatives, Recipe

TEXTS = [answer for _, answer in FACTS]


def test_negatives_are_never_relevant_nor_near_copies_and_never_twice() -> None:
    texts = [*TEXTS, TEXTS[0] + " today"]
    assert near_copy(texts[-1], [TEXTS[0]])
    for kind in ("bm25", "random", "mixed"):
        for seed in range(20):
            options = Negatives(kind=kind, count=4, depth=5)
            chosen = choose([0, 1, 2, 8, 3], {0}, texts, options, np.random.default_rng(seed))
            assert not {0, len(texts) - 1} & set(chosen)
            assert len(chosen) == len(set(chosen)) == 4


def test_bm25_negatives_come_from_the_asked_ranks() -> None:
    options = Negatives(kind="bm25", count=2, skip=1, depth=3)
    chosen = choose([7, 6, 5, 4], {0}, TEXTS, options, np.random.default_rng(0))
    assert set(chosen) == {6, 5}


def test_a_corpus_of_relevant_documents_gives_no_negatives() -> None:
    assert choose([0, 1], {0, 1}, TEXTS[:2], Negatives(), np.random.default_rng(0)) == []


def rows_of(recipe: Recipe) -> list[tuple[str, str, float]]:
    parts = load_parts(recipe)
    return [(row["query"], row["document"], row["label"]) for part in parts for row in part.rows]


def test_examples_are_reproducible_and_labelled(recipe: Recipe) -> None:
    rows = rows_of(recipe)
    assert rows == rows_of(recipe)
    assert [(part.name, len(part.rows)) for part in load_parts(recipe)] == [("facts", 24), ("pairs", 24)]
    truth = set(FACTS)
    assert all(((query, document) in truth) == (label == 1.0) for query, document, label in rows)


def test_judged_negatives_are_those_that_people_marked(recipe: Recipe) -> None:
    (facts, _) = recipe.datasets
    judged = facts.model_copy(update={"negatives": Negatives(kind="judged", count=5)})
    rows = rows_of(recipe.model_copy(update={"datasets": (judged,)}))
    wrong = {(query, document) for query, document, label in rows if label == 0.0}
    assert wrong == {(FACTS[i][0], FACTS[(i + 1) % len(FACTS)][1]) for i in range(len(FACTS))}
    assert len(rows) == 2 * len(FACTS)


def test_a_limit_draws_that_many_queries(recipe: Recipe) -> None:
    limited = recipe.datasets[0].model_copy(update={"limit": 3})
    assert len({query for query, _, _ in rows_of(recipe.model_copy(update={"datasets": (limited,)}))}) == 3


def test_a_table_of_pairs_is_mined_like_a_file_of_pairs(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("q,a\n" + "".join(f"{query},{answer}\n" for query, answer in FACTS))
    table = Dataset(
        name="pairs",
        path=tmp_path / "pairs.csv",
        columns={"q": "query", "a": "answer"},
        negatives=recipe.negatives,
    )
    (_, lines) = recipe.datasets
    assert rows_of(recipe.model_copy(update={"datasets": (table,)})) == rows_of(
        recipe.model_copy(update={"datasets": (lines,)})
    )
    unnamed = table.model_copy(update={"columns": None})
    with pytest.raises(DataError, match="no column 'query', only q, a; map one to it"):
        load_parts(recipe.model_copy(update={"datasets": (unnamed,)}))


def test_tables_come_from_every_source_with_digests(recipe: Recipe, tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"a": ["x", "y"], "b": ["u", "v"], "label": [0, 1]})
    datasets.DatasetDict(train=rows, dev=rows.select([0])).save_to_disk(str(tmp_path / "saved"))
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    with closing(sqlite3.connect(tmp_path / "rows.db")) as database:
        database.execute("CREATE TABLE facts (a TEXT, b TEXT, label INTEGER)")
        database.executemany("INSERT INTO facts VALUES (?, ?, ?)", [("x", "u", 0), ("y", "v", 1)])
        database.commit()
    sets = (
        Dataset(name="saved", path=Path("saved")),
        Dataset(name="dev", path=Path("saved"), split="dev"),
        Dataset(name="parquet", path=Path("rows.parquet"), split="train[:1]"),
        Dataset(name="db", connection="rows.db", sql="SELECT * FROM facts ORDER BY a", limit=1),
    )
    parts = load_parts(recipe.model_copy(update={"datasets": sets, "data_root": tmp_path}))
    assert [len(part.rows) for part in parts] == [2, 1, 1, 1]
    assert {part.kind for part in parts} == {"table"}
    assert all(len(value) == 64 for part in parts for value in part.sha256.values())
    assert set(parts[3].sha256) == {"rows"}
    data = training_data(parts, recipe)
    assert len(data.rows) == 5, "whole numbers are labels like any others, so that all sets are shuffled together"
    apart = training_data(parts, recipe.model_copy(update={"mix": False}))
    assert list(apart.rows) == ["saved", "dev", "parquet", "db"]
