"""The NanoBEIR evaluator against sentence-transformers 6.2, from files and through the loader of the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from sentence_transformers.cross_encoder.evaluation import CrossEncoderNanoBEIREvaluator as Reference

from tests.unit.training.cross_encoder.evaluation.fakes import FakeModel, assert_same, files_of
from training.cross_encoder.evaluation import CrossEncoderNanoBEIREvaluator

Tables = dict[str, list[dict[str, Any]]]
SETS = {"NanoMSMARCO": 3, "NanoNQ": 5}


def tables(seed: int) -> Tables:
    rng = np.random.default_rng(seed)
    ids = [f"d{i}" for i in range(15)]
    return {
        "corpus": [{"_id": key, "text": f"set {seed} document {key}"} for key in ids],
        "queries": [{"_id": f"q{i}", "text": f"set {seed} query {i}"} for i in range(4)],
        "qrels": [{"query-id": f"q{i}", "corpus-id": f"d{j}"} for i in range(4) for j in range(i + 1)],
        "bm25": [{"query-id": f"q{i}", "corpus-ids": [str(key) for key in rng.permutation(ids)]} for i in range(4)],
    }


def score(query: str, text: str) -> float:
    return sum(ord(letter) * i for i, letter in enumerate(query + text)) % 97 / 97


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The boundary to the Hub: `datasets.load_dataset` gives made tables; the calls are returned."""
    calls = []

    def load_dataset(name: str, subset: str, split: str) -> datasets.Dataset:
        calls.append((name, subset, split))
        return datasets.Dataset.from_list(tables(SETS[split])[subset])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def write_tables(directory: Path, ending: str) -> Path:
    for split, seed in SETS.items():
        for subset, rows in tables(seed).items():
            (directory / subset).mkdir(parents=True, exist_ok=True)
            if ending == "jsonl":
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (directory / subset / f"{split}.jsonl").write_text(text, encoding="utf-8")
            else:
                half = len(rows) // 2
                for part, own in enumerate((rows[:half], rows[half:])):
                    path = directory / subset / f"{split}-0000{part}-of-00002.parquet"
                    datasets.Dataset.from_list(own).to_parquet(path)
    return directory


@pytest.mark.parametrize("mode", [True, False])
def test_equal_to_the_library(hub: list[tuple[str, str, str]], tmp_path: Path, mode: bool) -> None:
    options: dict[str, Any] = {"dataset_names": ["msmarco", "NQ"], "rerank_k": 15, "at_k": 5}
    ours = CrossEncoderNanoBEIREvaluator(**options, always_rerank_positives=mode)
    theirs = Reference(**options, always_rerank_positives=mode)
    assert hub[:8] == hub[8:]
    found = assert_same(ours, theirs, score, tmp_path)
    assert ours.primary_metric == "NanoBEIR_R15_mean_ndcg@5"
    assert "NanoMSMARCO_R15_base_map" in found
    assert sorted(files_of(tmp_path / "ours")) == [
        "CrossEncoderRerankingEvaluator_NanoMSMARCO_R15_results_@5.csv",
        "CrossEncoderRerankingEvaluator_NanoNQ_R15_results_@5.csv",
        "NanoBEIR_evaluation_mean_results.csv",
    ]


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_local_directory_gives_what_the_hub_gives(tmp_path: Path, ending: str) -> None:
    names = ["msmarco", "nq"]
    from_hub = CrossEncoderNanoBEIREvaluator(names, rerank_k=7)
    local = CrossEncoderNanoBEIREvaluator(names, dataset_id=write_tables(tmp_path, ending), rerank_k=7)
    assert local(FakeModel(score)) == from_hub(FakeModel(score))
    assert local.get_config_dict()["dataset_id"] == str(tmp_path)


def test_a_directory_whose_readme_says_where_the_tables_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_tables(tmp_path / "nano", "jsonl")
    (tmp_path / "nano" / "data").mkdir()
    lines = ["---", "configs:"]
    for subset in ("corpus", "queries", "qrels", "bm25"):
        lines += [f"- config_name: {subset}", "  data_files:"]
        (tmp_path / "nano" / subset).rename(tmp_path / "nano" / "data" / subset)
        for split in SETS:
            lines += [f"  - split: {split}", f"    path: data/{subset}/{split}.jsonl"]
    (tmp_path / "nano" / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    evaluator = CrossEncoderNanoBEIREvaluator(["nq"], dataset_id=str(tmp_path / "nano"))
    assert [sample["query"] for sample in evaluator.evaluators[0].samples] == [f"set 5 query {i}" for i in range(4)]


@pytest.mark.usefixtures("hub")
def test_all_sets_are_scored_in_one_pass() -> None:
    model = FakeModel(score)
    evaluator = CrossEncoderNanoBEIREvaluator(["msmarco", "nq"], rerank_k=15, batch_size=9)
    evaluator(model)
    assert len(model.calls) == 1
    assert len(model.calls[0][0]) == 2 * 4 * 15
    assert model.calls[0][1]["batch_size"] == 9


@pytest.mark.usefixtures("hub")
def test_the_aggregate_may_be_another() -> None:
    evaluator = CrossEncoderNanoBEIREvaluator(["msmarco", "nq"], aggregate_fn=max, aggregate_key="best")
    found = evaluator(FakeModel(score))
    assert found["NanoBEIR_R100_best_map"] == max(found["NanoMSMARCO_R100_map"], found["NanoNQ_R100_map"])
    assert evaluator.csv_file == "NanoBEIR_evaluation_best_results.csv"


def test_eleven_sets_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(_name: str, subset: str, split: str) -> datasets.Dataset:
        return datasets.Dataset.from_list(tables(1)[subset])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert CrossEncoderNanoBEIREvaluator().dataset_names == Reference().dataset_names


@pytest.mark.parametrize(("names", "message"), [([], "empty"), (["trec"], "are no NanoBEIR sets")])
def test_wrong_names_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEncoderNanoBEIREvaluator(names)


def test_data_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_tables(tmp_path, "jsonl")
    (tmp_path / "queries" / "NanoNQ.jsonl").write_text('{"id": "q0", "text": "x"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"subset 'queries', split 'NanoNQ' .* lacks the columns \['_id'\]"):
        CrossEncoderNanoBEIREvaluator(["nq"], dataset_id=tmp_path)
    (tmp_path / "queries" / "NanoNQ.jsonl").write_text('{"_id": "q0", "text": "x"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"query 'q1' needs the id 'q1'"):
        CrossEncoderNanoBEIREvaluator(["nq"], dataset_id=tmp_path)
    (tmp_path / "queries" / "NanoNQ.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="could not load subset 'queries', split 'NanoNQ'"):
        CrossEncoderNanoBEIREvaluator(["nq"], dataset_id=tmp_path)
