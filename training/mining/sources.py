"""From the files of a recipe to a mining problem whose texts lie on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from app.model.manifest import digest
from training.data.lines import find
from training.errors import DataError
from training.mine_recipe import MineRecipe, TextFile
from training.mining.pair_reading import Reader
from training.mining.positives import IndexArray, Problem, positives_of
from training.mining.text_blocks import files_of
from training.mining.text_store import Digests, TextStore
from training.publish import publishing

FORMAT = 1
"""Of the prepared texts; a later version that writes them otherwise counts on."""


@dataclass(frozen=True, eq=False)
class Source:
    """What is mined from: the problem, the stores of its texts, and what reading them told.

    `asked` are the queries of the problem among those of the store. `counts` are rows read and left out, for the
    report; `files` the SHA-256 of each file by its name in the recipe.
    """

    problem: Problem
    queries: TextStore
    documents: TextStore
    asked: IndexArray
    counts: dict[str, int]
    files: dict[str, str]

    @property
    def query_digests(self) -> Digests:
        """128 bits that stand for each query of the problem."""
        return np.asarray(self.queries.digests[self.asked])


def load_source(recipe: MineRecipe, cache: Path, progress: bool = True) -> Source:
    """Reads pairs and corpus, or opens what an earlier run made of the same files. Raises DataError."""
    files = file_digests(recipe)
    keys = json.dumps([FORMAT, files, _sections(recipe)], sort_keys=True)
    directory = cache / "texts" / hashlib.sha256(keys.encode()).hexdigest()[:32]
    if not directory.is_dir():
        with publishing(directory) as draft:
            prepare(recipe, draft, progress)
    return _opened(directory, files, recipe)


def prepare(recipe: MineRecipe, directory: Path, progress: bool) -> None:
    """Writes different queries and documents and the pairs of them into `directory`."""
    with closing(Reader(recipe.data_root, directory, progress)) as reader:
        pairing = (reader.read_beir if is_beir(recipe) else reader.read_table)(recipe.pairs, recipe.corpus)
    if not len(pairing.queries):
        where = recipe.data_root / recipe.pairs.path
        raise DataError(f"{where}: holds no right answer to any query; check its judgments, labels and split")
    np.save(directory / "pairs.npy", np.stack([pairing.queries, pairing.documents]))
    (directory / "counts.json").write_text(json.dumps(reader.counts), encoding="utf-8")


def is_beir(recipe: MineRecipe) -> bool:
    """Whether the pairs are a BEIR directory."""
    path = recipe.data_root / recipe.pairs.path
    return path.is_dir() and (path / "qrels").is_dir()


def file_digests(recipe: MineRecipe) -> dict[str, str]:
    """SHA-256 of each file that is read, named as in the recipe; of a Hub dataset its name stands for it."""
    found: dict[str, str] = {}
    for source in filter(None, (recipe.pairs, recipe.corpus)):
        if source.is_on_hub:
            found[str(source.path)] = "hub"
            continue
        for path in _files(source, recipe):
            found[path.relative_to(recipe.data_root).as_posix()] = str(digest(path)["sha256"])
    return found


def _files(source: TextFile, recipe: MineRecipe) -> Iterator[Path]:
    if source is recipe.pairs and is_beir(recipe):
        directory = recipe.data_root / source.path
        names = ("corpus.jsonl", "queries.jsonl", f"qrels/{source.split or 'train'}.tsv")
        yield from (find(directory / name) for name in names)
        return
    for path in files_of(source, recipe.data_root):
        inside = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith("cache-"))
        yield from inside if path.is_dir() else (path,)


def _sections(recipe: MineRecipe) -> list[Any]:
    pairs = recipe.pairs.model_dump(mode="json", exclude={"limit"})
    return [pairs, None if recipe.corpus is None else recipe.corpus.model_dump(mode="json")]


def _opened(directory: Path, files: dict[str, str], recipe: MineRecipe) -> Source:
    queries, documents = TextStore(directory, "queries"), TextStore(directory, "corpus")
    pairs = np.load(directory / "pairs.npy")
    asked = _drawn(len(queries.texts), recipe.pairs.limit, recipe.seed)
    rank = np.full(len(queries.texts), -1, dtype=np.int64)
    rank[asked] = np.arange(len(asked))
    codes, answers = rank[pairs[0]], pairs[1]
    codes, answers = codes[codes >= 0], answers[codes >= 0]
    problem = Problem(
        queries=queries.texts if len(asked) == len(queries.texts) else queries.texts.take(pa.array(asked)),
        corpus=documents.texts,
        positives=positives_of(codes, answers, len(asked), len(documents.texts)),
        max_positives=int(np.bincount(codes).max()),
        query_rows=queries.rows[asked],
        corpus_rows=documents.rows,
        query_ids=queries.ids.take(pa.array(asked)).to_pylist(),
    )
    counts = json.loads((directory / "counts.json").read_text(encoding="utf-8"))
    counts |= {
        "queries": len(asked),
        "documents": len(documents.texts),
        "right answers": len(problem.positives.documents),
    }
    return Source(problem, queries, documents, asked, counts, files)


def _drawn(total: int, limit: int | None, seed: int) -> IndexArray:
    if limit is None or limit >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, limit, replace=False))
