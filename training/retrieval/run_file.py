"""Runs that were computed before, as files in TREC's format: query-id Q0 document-id rank score tag."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.lines import find, read_lines
from training.errors import DataError
from training.retrieval.collection import Collection
from training.retrieval.hits import Hits, no_hits
from training.retrieval.queries import Queries
from training.whole_file import whole_file

COLUMNS = ("query-id", "Q0", "document-id", "rank", "score", "tag")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Ranked documents per query, best first, in flat arrays.

    The documents of query i are `documents[offsets[i] : offsets[i + 1]]`, positions in `document_ids`, with `scores`.
    """

    query_ids: list[str]
    document_ids: Sequence[str]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of_hits(cls, hits: Hits, query_ids: Sequence[str], document_ids: Sequence[str]) -> Run:
        """What a retriever found. Raises DataError if there are not as many ids as queries."""
        if len(query_ids) != len(hits.indices):
            raise DataError(f"run: {len(hits.indices)} queries but {len(query_ids)} ids; give one id per query")
        found = hits.indices >= 0
        offsets = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
        return cls(list(query_ids), document_ids, offsets, hits.indices[found], hits.scores[found])

    def ranking(self, query: int) -> Iterator[tuple[str, float]]:
        """(document id, score) of one query, addressed by its position, best first."""
        part = slice(self.offsets[query], self.offsets[query + 1])
        for document, score in zip(self.documents[part].tolist(), self.scores[part], strict=True):
            yield self.document_ids[document], float(score)


def read_run(path: Path) -> Run:
    """A run file, plain or gzip'ed. Documents are ordered by score, equal ones by rank; the tag is not kept.

    Raises DataError naming file, line and column, and for a document that a query has twice.
    """
    queries: dict[str, int] = {}
    documents: dict[str, int] = {}
    query_of, document_of, ranks, lines = (array("q") for _ in range(4))
    scores = array("d")
    for number, fields in _fields(find(path)):
        query_of.append(queries.setdefault(fields[0], len(queries)))
        document_of.append(documents.setdefault(fields[2], len(documents)))
        ranks.append(_rank(fields[3], path, number))
        scores.append(_score(fields[4], path, number))
        lines.append(number)
    of_query, of_document, score = np.array(query_of), np.array(document_of), np.array(scores)
    _refuse_twice(of_query, of_document, np.array(lines), list(queries), list(documents), path)
    order = np.lexsort((np.array(ranks), -score, of_query))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(of_query, minlength=len(queries)))])
    return Run(list(queries), list(documents), offsets, of_document[order], score[order].astype(np.float32))


def write_run(path: Path, run: Run, tag: str = "crossrank") -> None:
    """Writes the run in full or not at all. Raises DataError for an id or tag that the format cannot hold."""
    named = {run.document_ids[document] for document in np.unique(run.documents).tolist()}
    for text in (tag, *run.query_ids, *named):
        if not text or text.split() != [text]:
            raise DataError(f"{path}: a run file cannot hold the id {text!r}; use ids without spaces")
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for query, query_id in enumerate(run.query_ids):
            for rank, (document_id, score) in enumerate(run.ranking(query), start=1):
                file.write(f"{query_id} Q0 {document_id} {rank} {score!r} {tag}\n")


class RunRetriever:
    """Looks queries up in a run, by their ids. The score of a pair that is not in the run is NaN.

    `document_ids` are the ids of the corpus in its order. Raises DataError for a document that is not among them, and
    for queries without ids.
    """

    def __init__(self, run: Run | Path | str, document_ids: Sequence[str]) -> None:
        self._run = run if isinstance(run, Run) else read_run(Path(run))
        position = {key: i for i, key in enumerate(document_ids)}
        known = np.array([position.get(key, -1) for key in self._run.document_ids], dtype=np.int64)
        self._documents = known[self._run.documents]
        if (self._documents < 0).any():
            unknown = self._run.document_ids[int(self._run.documents[np.argmin(self._documents)])]
            raise DataError(f"{self._name(run)}: the corpus has no document {unknown!r}; give the corpus of this run")
        self._row = {key: i for i, key in enumerate(self._run.query_ids)}
        self._source = self._name(run)

    @classmethod
    def over(cls, collection: Collection, *, path: Path | str) -> RunRetriever:
        """Over a collection with ids."""
        return cls(path, collection.need("ids", "run"))

    def top(self, queries: Queries, k: int) -> Hits:
        """The first k documents of each query; none for a query that the run lacks."""
        hits = no_hits(len(queries), k)
        for row, key in enumerate(self._ids(queries)):
            part = self._part(key, k)
            hits.indices[row, : len(self._documents[part])] = self._documents[part]
            hits.scores[row, : len(self._documents[part])] = self._run.scores[part]
        return hits

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of given pairs, NaN where the run has none: shape (pairs,)."""
        found = np.full(len(query_index), np.nan, dtype=np.float32)
        ids = self._ids(queries)
        scores: dict[int, dict[int, float]] = {}
        for pair, (query, document) in enumerate(zip(query_index.tolist(), document_index.tolist(), strict=True)):
            if query not in scores:
                part = self._part(ids[query])
                scores[query] = dict(zip(self._documents[part].tolist(), self._run.scores[part].tolist(), strict=True))
            found[pair] = scores[query].get(document, np.nan)
        return found

    def _part(self, key: str, k: int | None = None) -> slice:
        if key not in self._row:
            return slice(0, 0)
        start, stop = self._run.offsets[self._row[key]], self._run.offsets[self._row[key] + 1]
        return slice(start, stop if k is None else min(stop, start + k))

    def _ids(self, queries: Queries) -> Sequence[str]:
        if queries.ids is None:
            raise DataError(f"{self._source}: queries are looked up by id; give the ids of the queries")
        return queries.ids

    @staticmethod
    def _name(run: Run | Path | str) -> str:
        return "run" if isinstance(run, Run) else str(run)


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) != len(COLUMNS):
            raise DataError(
                f"{path}, line {number}: has {len(fields)} columns; a run file has {len(COLUMNS)}: {' '.join(COLUMNS)}"
            )
        yield number, fields


def _rank(text: str, path: Path, number: int) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: column 'rank' is {text!r}, no whole number; correct it") from error


def _score(text: str, path: Path, number: int) -> float:
    try:
        score = float(text)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: column 'score' is {text!r}, no number; correct it") from error
    if not np.isfinite(score):
        raise DataError(f"{path}, line {number}: column 'score' is {text!r}; give a finite number")
    return score


def _refuse_twice(
    query_of: NDArray[np.int64],
    document_of: NDArray[np.int64],
    lines: NDArray[np.int64],
    queries: list[str],
    documents: list[str],
    path: Path,
) -> None:
    order = np.lexsort((lines, document_of, query_of))
    same = (np.diff(query_of[order]) == 0) & (np.diff(document_of[order]) == 0)
    if same.any():
        first, again = order[int(np.argmax(same))], order[int(np.argmax(same)) + 1]
        raise DataError(
            f"{path}, line {lines[again]}: query {queries[query_of[again]]!r} has document "
            f"{documents[document_of[again]]!r} since line {lines[first]}; remove one of the lines"
        )
