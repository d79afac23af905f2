"""What is written: rows in every format, samples, runs and BEIR directories, each readable by what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.mining.files import make_pairs, read_rows, recipe_of, write_rows
from training.cross_encoder.evaluation.samples import read_samples
from training.data.beir import read_retrieval
from training.mining import outputs
from training.mining.options import MiningOptions
from training.mining.outputs import write_outputs
from training.mining.pipeline import Mined, mine
from training.mining.sources import Source, load_source
from training.retrieval.bm25 import Bm25Retriever
from training.retrieval.hits import Hits
from training.retrieval.queries import Queries
from training.retrieval.run_file import read_run

PAIRS = make_pairs()


@pytest.fixture
def mined(tmp_path: Path) -> tuple[Source, Mined, Hits]:
    """Two negatives for each of 20 queries, the first of which has two right answers; and 8 candidates."""
    write_rows(tmp_path / "pairs.jsonl", [*PAIRS, {**PAIRS[0], "answer": PAIRS[5]["answer"]}])
    source = load_source(recipe_of(tmp_path), tmp_path / "cache", progress=False)
    retriever = Bm25Retriever(source.problem.corpus.to_pylist())
    candidates = retriever.top(Queries(source.problem.queries.to_pylist()), 8)
    return source, mine(source.problem, retriever, MiningOptions(num_negatives=2, seed=0)), candidates


def write(root: Path, mined: tuple[Source, Mined, Hits], **output: Any) -> tuple[Path, int]:
    """The path of the one output, and the count that is reported for it."""
    folder = root / "written"
    folder.mkdir()
    (count,) = write_outputs(recipe_of(root, outputs=[output]), *mined, folder).values()
    return folder / output["path"], count


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.tsv", "rows.parquet", "rows"])
def test_triplets_are_the_same_in_every_format_and_in_small_blocks(
    name: str, tmp_path: Path, mined: tuple[Source, Mined, Hits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "TEXTS_PER_BLOCK", 9)
    path, count = write(tmp_path, mined, path=name, format="triplet")
    rows, (source, found, _) = read_rows(path), mined
    assert count == len(rows) == 42
    corpus = source.problem.corpus.to_pylist()
    first = [(row["answer"], row["negative"]) for row in rows if row["query"] == PAIRS[0]["query"]]
    negatives = [corpus[i] for i in found.indices[0]]
    assert first == [(PAIRS[i]["answer"], negative) for i in (0, 5) for negative in negatives]
    assert {path.name for path in (tmp_path / "written").iterdir()} == {name}


@pytest.mark.parametrize(
    ("output", "columns", "rows"),
    [
        ({"format": "triplet", "scores": True}, ["query", "answer", "negative", "scores"], 42),
        ({"format": "n-tuple"}, ["query", "answer", "negative_1", "negative_2"], 21),
        ({"format": "n-tuple", "scores": True}, ["query", "answer", "negative_1", "negative_2", "scores"], 21),
        ({"format": "labeled-pair"}, ["query", "answer", "label"], 61),
        ({"format": "labeled-pair", "scores": True}, ["query", "answer", "score"], 61),
        ({"format": "labeled-list"}, ["query", "answer", "labels"], 21),
        ({"format": "labeled-list", "scores": True}, ["query", "answer", "scores"], 21),
    ],
)
def test_each_format_has_its_columns_with_and_without_scores(
    output: dict[str, Any], columns: list[str], rows: int, tmp_path: Path, mined: tuple[Source, Mined, Hits]
) -> None:
    path, count = write(tmp_path, mined, path="rows.parquet", **output)
    found = read_rows(path)
    assert list(found[0]) == columns
    assert count == len(found) == rows


@pytest.mark.parametrize("include", [True, False])
def test_evaluation_samples_hold_the_candidates_in_their_order(
    include: bool, tmp_path: Path, mined: tuple[Source, Mined, Hits]
) -> None:
    path, _ = write(tmp_path, mined, path="e.jsonl", format="evaluation", documents=5, include_positives=include)
    samples, (source, _, candidates) = read_rows(path), mined
    corpus = source.problem.corpus.to_pylist()
    assert samples[0]["positive"] == [PAIRS[0]["answer"], PAIRS[5]["answer"]]
    ranked = [corpus[i] for i in candidates.indices[0] if i >= 0]
    expected = ranked if include else [text for text in ranked if text not in samples[0]["positive"]]
    assert samples[0]["documents"] == expected[:5]
    assert len(read_samples(samples, always_rerank_positives=True)) == 20


def test_a_run_is_read_back_as_it_was_found(tmp_path: Path, mined: tuple[Source, Mined, Hits]) -> None:
    path, count = write(tmp_path, mined, path="c.trec", format="run", documents=4)
    source, _, candidates = mined
    run = read_run(path)
    assert run.query_ids == source.problem.query_ids
    ids = source.documents.ids.to_pylist()
    best = candidates.indices[3][:4]
    assert [name for name, _ in run.ranking(3)] == [ids[i] for i in best if i >= 0]
    assert np.allclose([score for _, score in run.ranking(3)], candidates.scores[3][:4][best >= 0])
    assert count == len(run.documents)


def test_a_beir_directory_has_negatives_as_judgments_of_0(tmp_path: Path, mined: tuple[Source, Mined, Hits]) -> None:
    path, count = write(tmp_path, mined, path="beir", format="beir")
    source, found, _ = mined
    data = read_retrieval(path, "train")
    first = data.qrels["query0"]
    texts = [source.problem.corpus[int(i)].as_py() for i in found.indices[0]]
    assert [data.corpus[name] for name, grade in first.items() if grade == 0] == texts
    assert [data.corpus[name] for name in data.relevant("query0")] == [PAIRS[0]["answer"], PAIRS[5]["answer"]]
    assert sum(map(len, data.qrels.values())) == count == 61
    assert data.queries["query7"] == PAIRS[7]["query"]
