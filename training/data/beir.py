"""Retrieval data in the layout of BEIR: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, and pools of candidates."""

from __future__ import annotations

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
    """(line, query id, document id, grade) of each judgment. Raises DataError."""
    for number, (query_id, document_id, grade, *_) in _rows(path, 3):
        yield number, query_id, document_id, _number(grade, "score", path, number)


def read_pool(path: Path) -> Pool:
    """Candidates per query in the order of their rank column. Raises DataError."""
    ranked: dict[str, list[tuple[float, str]]] = {}
    for number, (query_id, document_id, rank, *_) in _rows(find(path), 3):
        ranked.setdefault(query_id, []).append((_number(rank, "rank", path, number), document_id))
    return {key: [name for _, name in sorted(rows, key=lambda row: row[0])] for key, rows in ranked.items()}


def _read_corpus(path: Path) -> dict[str, str]:
    texts = {}
    for number, row in read_objects(path):
        title = row.get("title") or ""
        texts[text_of(row, "_id", path, number)] = f"{title} {text_of(row, 'text', path, number)}".strip()
    return texts


def _read_queries(path: Path) -> dict[str, str]:
    rows = read_objects(path)
    return {text_of(row, "_id", path, number): text_of(row, "text", path, number) for number, row in rows}


def _rows(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    lines = read_lines(path)
    next(lines, None)  # the header
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) < columns:
            raise DataError(f"{path}, line {number}: has {len(fields)} of {columns} tab-separated columns; correct it")
        yield number, fields


def _number(text: str, column: str, path: Path, number: int) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: column {column!r} is {text!r}, not a number; correct it") from error
