"""Reads queries, right answers and documents into stores of different texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from training.data.beir import read_judgments
from training.data.lines import find
from training.errors import DataError
from training.mine_recipe import Corpus, Pairs, TextFile
from training.mining.positives import IndexArray
from training.mining.text_blocks import Block, read_blocks
from training.mining.text_store import TextStore, TextWriter

LABELS = {0: False, 1: True, "0": False, "1": True, "0.0": False, "1.0": True}
"""What a column of labels may hold; True and False are 1 and 0."""

_NONE: IndexArray = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Pairing:
    """Queries and their right answers as indices into the stores "queries" and "corpus"."""

    queries: IndexArray
    documents: IndexArray


class Reader:
    """Fills the stores "queries" and "corpus" of `directory`; `counts` says what was read and left out."""

    def __init__(self, root: Path, directory: Path, progress: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._root = root
        self._directory = directory
        self._queries = TextWriter(directory, "queries")
        self._corpus = TextWriter(directory, "corpus")
        self._documents = 0
        self._bar: tqdm[Any] = tqdm(desc="read", unit="row", disable=not progress)

    def close(self) -> None:
        """Closes what is open."""
        for one in (self._queries, self._corpus, self._bar):
            one.close()

    def read_table(self, pairs: Pairs, corpus: Corpus | None) -> Pairing:
        """A table with one pair in each row, and the documents of a corpus before its answers. Raises DataError."""
        if corpus is not None:
            self._read_corpus(corpus)
        blocks = read_blocks(pairs, self._root, (pairs.query, pairs.answer), (pairs.label,))
        right = [self._read_pairs(block, pairs) for block in blocks]
        queries, documents = self._finish()
        return Pairing(np.asarray(queries.codes), documents.codes[np.concatenate([*right, _NONE])])

    def read_beir(self, pairs: Pairs, corpus: Corpus | None) -> Pairing:
        """The judged pairs of a BEIR directory; only queries with a right answer are kept. Raises DataError."""
        folder = pairs.path
        self._read_corpus(
            Corpus(path=folder / "corpus.jsonl", id="_id", title="title", skip_empty=pairs.skip_empty), folder
        )
        own = self._documents
        if corpus is not None:
            self._read_corpus(corpus)
        file = find(self._root / folder / "qrels" / f"{pairs.split or 'train'}.tsv")
        judged = [row for row in read_judgments(file) if row[3] > 0]
        lines = [number for number, *_ in judged]
        asked, answers = (pa.array([row[i] for row in judged], pa.large_string()) for i in (1, 2))
        self._read_queries(folder / "queries.jsonl", pc.unique(asked))
        queries, documents = self._finish()
        at = _places(asked, queries.given_ids, file, lines), _places(answers, documents.given_ids[:own], file, lines)
        self.counts["pairs"] += len(judged)
        return Pairing(queries.codes[at[0]], documents.codes[at[1]])

    def _read_corpus(self, corpus: Corpus, beir: Path | None = None) -> None:
        needed = [corpus.text, *filter(None, [corpus.id])]
        optional = [corpus.title] if corpus.title is not None and beir is not None else []
        needed += [corpus.title] if corpus.title is not None and beir is None else []
        for block in read_blocks(corpus, self._root, needed, optional):
            bodies = block.texts(corpus.text)
            titles = (
                block.texts(corpus.title) if corpus.title in block.columns and corpus.title else [None] * len(block)
            )
            texts = [
                None if body is None else f"{title or ''} {body}".strip()
                for title, body in zip(titles, bodies, strict=True)
            ]
            rows = self._with_text(block, {corpus.text: texts}, corpus, "corpus" if beir is None else "pairs")
            names = _names(block, corpus.id) if corpus.id else [f"d{self._documents + i}" for i in range(len(block))]
            self._corpus.add([str(texts[i]) for i in rows], [names[i] for i in rows])
            self._documents += len(rows)
            self.counts["documents read"] += len(block)

    def _read_pairs(self, block: Block, pairs: Pairs) -> IndexArray:
        """Adds a block; returns which given document each right answer is."""
        self.counts["rows read"] += len(block)
        texts = {name: block.texts(name) for name in (pairs.query, pairs.answer)}
        rows = self._with_text(block, texts, pairs, "pairs")
        right = [_is_right(block, pairs.label, i) for i in rows]
        asked, answers = texts[pairs.query], texts[pairs.answer]
        chosen = [i for i, label in zip(rows, right, strict=True) if label]
        first = self._documents
        self._corpus.add([str(answers[i]) for i in rows], [f"answer{first + k}" for k in range(len(rows))])
        done = self.counts["pairs"]
        self._queries.add([str(asked[i]) for i in chosen], [f"query{done + k}" for k in range(len(chosen))])
        self._documents += len(rows)
        self.counts["pairs"] += len(chosen)
        self.counts["pairs marked as wrong"] += len(rows) - len(chosen)
        return first + np.flatnonzero(right)

    def _read_queries(self, path: Path, wanted: pa.Array) -> None:
        source = TextFile(path=path)
        for block in read_blocks(source, self._root, ("_id", "text")):
            names, texts = _names(block, "_id"), block.texts("text")
            asked = set(np.flatnonzero(pc.is_in(pa.array(names, pa.large_string()), wanted).to_numpy(False)).tolist())
            known: dict[str, list[str | None]] = {"text": [text if i in asked else "-" for i, text in enumerate(texts)]}
            rows = [i for i in self._with_text(block, known, source, "pairs") if i in asked]
            self._queries.add([str(texts[i]) for i in rows], [names[i] for i in rows])

    def _with_text(
        self, block: Block, columns: dict[str, list[str | None]], source: TextFile, section: str
    ) -> list[int]:
        """The rows with text in all columns; raises DataError for another one unless such rows are skipped."""
        self._bar.update(len(block))
        rows = []
        for i in range(len(block)):
            if empty := next((name for name, texts in columns.items() if not (texts[i] or "").strip()), None):
                if not source.skip_empty:
                    raise DataError(
                        f"{block.where(i)}: column {empty!r} is empty; fill it, leave the row out, or set "
                        f"{section}.skip_empty = true"
                    )
                self.counts["rows without text"] += 1
                continue
            rows.append(i)
        return rows

    def _finish(self) -> tuple[TextStore, TextStore]:
        self.close()
        stores = []
        for name, writer in (("queries", self._queries), ("corpus", self._corpus)):
            writer.finish()
            store = TextStore(self._directory, name)
            if (twice := store.ambiguous_id()) is not None:
                raise DataError(f"{self._root}: two different texts of the {name} have the id {twice!r}; rename one")
            self.counts[f"repeated {'queries' if name == 'queries' else 'documents'}"] = len(store.codes) - len(
                store.rows
            )
            stores.append(store)
        return stores[0], stores[1]


def _names(block: Block, column: str) -> list[str]:
    """Ids, which may be numbers. Raises DataError where one is missing."""
    values = block.columns[column]
    for i, value in enumerate(values):
        if value is None or not isinstance(value, str | int) or value == "":
            raise DataError(f"{block.where(i)}: column {column!r} holds no id; write a name or number")
    return [str(value) for value in values]


def _is_right(block: Block, column: str, row: int) -> bool:
    if column not in block.columns:
        return True
    value = block.columns[column][row]
    if not isinstance(value, str | int | float) or value not in LABELS:
        raise DataError(
            f"{block.where(row)}: column {column!r} is {value!r}; it must be 0 or 1, or name another `label`"
        )
    return LABELS[value]


def _places(names: pa.Array, ids: pa.Array, file: Path, lines: Sequence[int]) -> IndexArray:
    """Where each name stands among the ids. Raises DataError naming the line of one that does not."""
    places = pc.index_in(names, ids)
    if places.null_count:
        row = int(np.argmax(places.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{file}, line {lines[row]}: no text has the id {names[row].as_py()!r}; correct the id")
    return np.asarray(places.to_numpy(), dtype=np.int64)
