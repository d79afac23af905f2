"""Retrieval data in the layout of BEIR: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, and pools of candidates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.data.lines import find, read_lines, read_objects, text_of
from training.errors import DataError

Qrels = dict[str, dict[str, float]]
"""Grade by query id and document id; above 0 is relevant."""
Pool = dict[str, list[str]]
"""Candidate document ids by query id, best first."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One judged split: texts by id, and `qrels` for its queries. `files` are those that were read."""

    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: Qrels
    files: tuple[Path, ...]

    def relevant(self, query_id: str) -> list[str]:
        """Ids of the relevant documents, in file order."""
        return [document_id for document_id, grade in self.qrels[query_id].items() if grade > 0]


def read_retrieval(directory: Path, split: str) -> Retrieval:
    """Texts and judgments of one split; a document's text is its title, a space, and its body.

    Raises DataError naming file, line and column, or an id that a judgment names and no text has.
    """
    corpus_file, queries_file = find(directory / "corpus.jsonl"), find(directory / "queries.jsonl")
    qrels_file = find(directory / "qrels" / f"{split}.tsv")
    corpus, queries = _read_corpus(corpus_file), _read_queries(queries_file)
    qrels: Qrels = {}
    for number, query_id, document_id, grade in read_judgments(qrels_file):
        if query_id not in queries or document_id not in corpus:
            unknown = document_id if query_id in queries else query_id
            raise DataError(f"{qrels_file}, line {number}: no text has the id {unknown!r}; correct the id")
        qrels.setdefault(query_id, {})[document_id] = grade
    return Retrieval(corpus, {key: queries[key] for key in qrels}, qrels, (corpus_file, queries_file, qrels_file))


def read_judgments(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """(line, query id, document id, grade) of each judgment. Raises DataError, for TREC's four columns too."""
    number, line = next(read_lines(path), (0, ""))
    words = line.split()
    if len(words) == 4 and words[1] in ("0", "Q0") and _as_number(words[3]) is not None:
        raise DataError(
            f"{path}, line {number}: has TREC's four columns; write query id, document id and grade, tab-separated"
        )
    yield from _rows(path, "score")


def read_pool(path: Path) -> Pool:
    """Candidates per query in the order of their rank column. Raises DataError."""
    ranked: dict[str, list[tuple[float, str]]] = {}
    for _, query_id, document_id, rank in _rows(find(path), "rank"):
        ranked.setdefault(query_id, []).append((rank, document_id))
    return {key: [name for _, name in sorted(rows, key=lambda row: row[0])] for key, rows in ranked.items()}


def _read_corpus(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, row in read_objects(path):
        text = f"{row.get('title') or ''} {text_of(row, 'text', path, number)}".strip()
        _add(texts, text_of(row, "_id", path, number), text, path, number)
    return texts


def _read_queries(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, row in read_objects(path):
        _add(texts, text_of(row, "_id", path, number), text_of(row, "text", path, number), path, number)
    return texts


def _add(texts: dict[str, str], name: str, text: str, path: Path, number: int) -> None:
    """A row may come twice, but an id names one text."""
    if texts.setdefault(name, text) != text:
        raise DataError(f"{path}, line {number}: an earlier line has another text of the id {name!r}; rename one")


def _rows(path: Path, column: str) -> Iterator[tuple[int, str, str, float]]:
    """(line, query id, document id, value of `column`, the third) of each line below the heading, if there is one."""
    is_first = True
    for number, line in read_lines(path):
        fields = line.split("\t")
        if is_first:
            is_first = False
            if all(_as_number(word) is None for word in line.split()[2:]):
                continue  # a heading
        if len(fields) < 3:
            raise DataError(f"{path}, line {number}: has {len(fields)} of 3 tab-separated columns; correct it")
        value = _as_number(fields[2])
        if value is None or not math.isfinite(value):
            raise DataError(f"{path}, line {number}: column {column!r} is {fields[2]!r}, not a number; correct it")
        yield number, fields[0], fields[1], value


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
