"""Real texts to calibrate and to measure an exported graph with, and how they are arranged in lists to rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import ConfigError
from training.data.beir import read_pool, read_retrieval
from training.data.lines import find
from training.errors import DataError

BUNDLED = Path(__file__).parent / "data_samples" / "pairs.jsonl"
LIST_LENGTH = 20
"""Documents of a list: enough that the first ten are a choice."""


class Entry(NamedTuple):
    """A query with its documents, best first where they are ranked; `grades` 0 where nothing is known."""

    query: str
    documents: list[str]
    grades: list[float]


@dataclass(frozen=True, slots=True)
class Texts:
    """Queries with documents from one source. `judged`: whether its grades tell right from wrong."""

    name: str
    entries: list[Entry]
    judged: bool

    def halves(self) -> tuple[Texts, Texts]:
        """Every second query to calibrate with, the others to measure with. Raises ConfigError if there is but one."""
        if len(self.entries) < 2:
            raise ConfigError(f"{self.name}: has {len(self.entries)} query; give at least 2, better some hundred")
        return (
            Texts(self.name, self.entries[0::2], self.judged),
            Texts(self.name, self.entries[1::2], self.judged),
        )

    def pairs(self, limit: int) -> list[tuple[str, str]]:
        """At most `limit` pairs: the first document of each query, then the second of each, and so on."""
        depth = max(len(entry.documents) for entry in self.entries)
        turns = ((entry, i) for i in range(depth) for entry in self.entries if i < len(entry.documents))
        return [(entry.query, entry.documents[i]) for entry, i in islice(turns, limit)]


@dataclass(frozen=True, slots=True)
class Lists:
    """Which rows are ranked against each other: row numbers and, where they are judged, grades of each list."""

    rows: list[NDArray[np.intp]]
    grades: list[list[float]] | None = None


def arrange(texts: Texts, limit: int) -> tuple[list[tuple[str, str]], Lists]:
    """About `limit` pairs, and the lists among them.

    Where the source has no lists of its own, half of the pairs are those of the source, and the other half are
    queries with LIST_LENGTH documents each, filled up with those of other queries.
    """
    ranked = np.median([len(entry.documents) for entry in texts.entries]) > LIST_LENGTH / 2
    room = limit if ranked else limit // 2
    chosen = _spread(len(texts.entries), max(1, room // LIST_LENGTH))
    lists = [_filled(texts.entries, i) for i in chosen]
    pairs = [(entry.query, document) for entry in lists for document in entry.documents]
    starts = np.cumsum([0] + [len(entry.documents) for entry in lists])
    rows = [np.arange(start, end) for start, end in pairwise(starts)]
    rest = Texts(texts.name, [entry for i, entry in enumerate(texts.entries) if i not in set(chosen)], texts.judged)
    if not ranked and rest.entries:
        pairs += rest.pairs(max(0, limit - len(pairs)))
    return pairs, Lists(rows, [entry.grades for entry in lists] if texts.judged else None)


def read_texts(source: str | Path | None, split: str = "test") -> Texts:
    """The pairs of a BEIR directory (its judged documents, or its pool), a table, or the bundled sample for None.

    A table's first two columns of text are query and document; a column `label`, `score` or `grade` judges them.
    Raises DataError.
    """
    if source is not None and (Path(source) / "qrels").is_dir():
        return _beir(Path(source), split)
    return _table(str(source or BUNDLED), "bundled sample" if source is None else Path(source).name)


def _beir(directory: Path, split: str) -> Texts:
    data = read_retrieval(directory, split)
    pool = _pool(directory, split)
    entries = []
    for query_id, judged in data.qrels.items():
        documents = [key for key in pool.get(query_id, judged) if key in data.corpus][:LIST_LENGTH]
        if documents:
            grades = [judged.get(key, 0.0) for key in documents]
            entries.append(Entry(data.queries[query_id], [data.corpus[key] for key in documents], grades))
    return Texts(directory.name, entries, judged=True)


def _pool(directory: Path, split: str) -> dict[str, list[str]]:
    for name in (f"{split}.tsv", f"{split}_bm25.tsv"):
        path = directory / "pools" / name
        if path.is_file() or path.with_name(f"{name}.gz").is_file():
            return read_pool(find(path))
    return {}


def _table(source: str, name: str) -> Texts:
    from training.data.tables import load_table
    from training.score import text_columns

    table = load_table(source)
    query, document = text_columns(table, None, source)
    judgment = next((column for column in ("label", "score", "grade") if column in table.column_names), None)
    entries: dict[str, Entry] = {}
    for row in table:
        if row[query] is None or row[document] is None:
            raise DataError(f"{name}: a row lacks its query or document; fill it, or leave the row out")
        entry = entries.setdefault(row[query], Entry(row[query], [], []))
        entry.documents.append(row[document])
        entry.grades.append(float(row[judgment] or 0) if judgment else 0.0)
    grades = set(chain.from_iterable(entry.grades for entry in entries.values()))
    return Texts(name, list(entries.values()), judged=len(grades) > 1)


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` different numbers below `count`, evenly apart."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(wanted, count))})


def _filled(entries: Sequence[Entry], index: int) -> Entry:
    """An entry with documents of the next ones, as wrong answers, up to LIST_LENGTH."""
    own = entries[index]
    others = chain.from_iterable(entry.documents for entry in (*entries[index + 1 :], *entries[:index]))
    wrong = islice((text for text in others if text not in own.documents), max(0, LIST_LENGTH - len(own.documents)))
    documents = [*own.documents, *wrong][:LIST_LENGTH]
    return Entry(own.query, documents, (own.grades + [0.0] * LIST_LENGTH)[: len(documents)])
