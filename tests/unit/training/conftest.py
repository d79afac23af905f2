"""A small retrieval set whose words the tiny models know, and a recipe over it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from tests.models import write_model
from training.recipe import Recipe, load_recipe

FACTS = [
    ("what is the capital of france", "paris is the capital of france"),
    ("what is the capital of germany", "berlin is the capital of germany"),
    ("what is the capital of italy", "rome is the capital of italy"),
    ("who jumps over the dog", "the quick brown fox jumps over a lazy dog"),
    ("what ranks documents", "a search engine ranks documents by relevance to the query"),
    ("what trains on data", "a machine learning model trains on data with loss"),
    ("what returns a score", "it returns a score for each pair of question and answer"),
    ("how many people live in the city", "people live in the city by the river"),
]


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    """JSON lines, gzip'ed where the name says so."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`facts` in BEIR layout with a pool, and the same facts as `pairs.jsonl`."""
    root = tmp_path_factory.mktemp("data")
    facts = root / "facts"
    corpus = [{"_id": f"d{i}", "title": "", "text": answer} for i, (_, answer) in enumerate(FACTS)]
    write_lines(facts / "corpus.jsonl.gz", list(corpus))
    write_lines(facts / "queries.jsonl", [{"_id": f"q{i}", "text": query} for i, (query, _) in enumerate(FACTS)])
    rows = [f"q{i}\td{i}\t1\nq{i}\td{(i + 1) % len(FACTS)}\t0" for i in range(len(FACTS))]
    (facts / "qrels").mkdir()
    (facts / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    (facts / "pools").mkdir()
    pool = [f"q{i}\td{j}\t{j + 1}\t0" for i in range(len(FACTS)) for j in range(len(FACTS))]
    (facts / "pools" / "train.tsv").write_text("query-id\tcorpus-id\trank\tscore\n" + "\n".join(pool) + "\n")
    write_lines(root / "pairs.jsonl", [{"query": query, "answer": answer} for query, answer in FACTS])
    return root


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe with one BEIR set, one file of pairs and one evaluation; parent and data root are overrides."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        """
parent = "none"
output = "none"
max_length = 48
serving_max_length = 64
batch_size = 8
learning_rate = 3e-3
epochs = 4
checkpoint_every = 3
negatives = { kind = "mixed", count = 2, depth = 4 }

[[datasets]]
name = "facts"
path = "facts"
licence = "CC0"

[[datasets]]
name = "pairs"
path = "pairs.jsonl"
licence = "CC0"

[[evaluations]]
name = "facts"
path = "facts"
split = "train"
depth = 5
"""
    )
    return path


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny products are slower on several threads, and by far so where other work runs beside them."""
    monkeypatch.setattr("training.train.available_cpus", lambda: 1)


@pytest.fixture(scope="session")
def parent_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny encoder with BERT's own small initial weights, as training expects them."""
    from transformers import BertConfig, BertForSequenceClassification

    directory = write_model(tmp_path_factory.mktemp("parents") / "parent")
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig.from_pretrained(directory)).save_pretrained(directory)
    return directory


@pytest.fixture
def recipe(recipe_file: Path, data_root: Path, parent_dir: Path, tmp_path: Path) -> Recipe:
    """The recipe, ready to run on a tiny model."""
    overrides = [f"parent={parent_dir}", f"data_root={data_root}", f"output={tmp_path / 'model'}"]
    return load_recipe(recipe_file, overrides)
