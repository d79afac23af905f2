"""What an evaluation reranks: per query the candidate documents, in the order of the first stage."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.beir import Qrels, Retrieval, read_retrieval
from training.data.lines import find
from training.errors import DataError
from training.examples import draw
from training.first_stage import BM25, RUN, FirstStage, Found, from_pool, is_pool, retrieve, retriever_of, run_file
from training.metrics import order
from training.recipe import EvaluationSet
from training.retrieval.queries import Queries

LEXICAL = "_bm25.tsv"
"""Ending of pools that are BM25 runs already; other pools are put into the first stage's order."""


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation set, ready to score.

    `candidates` holds document ids per query in the order of the first stage, which is called `first_stage`, and
    `scores` its falling scores; `retrieval` says all about it. `notes` say which judged queries were left out, and why.
    """

    name: str
    corpus: dict[str, str]
    queries: dict[str, str]
    candidates: dict[str, list[str]]
    qrels: Qrels
    first_stage: str
    scores: dict[str, NDArray[np.float32]]
    retrieval: str = ""
    notes: tuple[str, ...] = ()

    def pairs(self) -> list[tuple[str, str]]:
        """(query, document) texts of all candidates, query after query."""
        return [
            (self.queries[query_id], self.corpus[document_id])
            for query_id, document_ids in self.candidates.items()
            for document_id in document_ids
        ]


def load_task(options: EvaluationSet, root: Path, seed: int) -> Task:
    """The queries that have a relevant document, at most `options.limit` of them, with their candidates.

    No ranking of the others can be right or wrong. Queries that a given run or pool lacks are left out too.
    Raises DataError or ConfigError.
    """
    directory = root / options.path
    data = _read(directory, options.split)
    answerable = {key: data.queries[key] for key in data.qrels if data.relevant(key)}
    stage = FirstStage.parse(options.first_stage)
    listed = _listed(stage, options, data, answerable, directory)
    usable = [key for key in answerable if listed is None or key in listed.documents]
    queries = {key: data.queries[key] for key in draw(usable, options.limit, np.random.default_rng(seed))}
    if not queries:
        raise DataError(f"{directory}: no query of split {options.split!r} has both a relevant document and candidates")
    found = _found(stage, listed, data, queries, options, directory)
    return Task(
        options.name,
        data.corpus,
        queries,
        {key: found.documents[key] for key in queries},
        {key: data.qrels[key] for key in queries},
        stage.kind,
        {key: found.scores[key] for key in queries},
        options.first_stage if options.pool is None else f"{options.first_stage} over {options.pool}",
        _notes(len(data.qrels), len(answerable), len(usable)),
    )


def _read(directory: Path, split: str) -> Retrieval:
    folder = directory / "qrels"
    splits = sorted(path.name.removesuffix(".gz").removesuffix(".tsv") for path in folder.glob("*.tsv*"))
    if splits and split not in splits:
        raise DataError(f"{folder}: no judgments of split {split!r}, only of {', '.join(splits)}; choose one of them")
    return read_retrieval(directory, split)


def _listed(
    stage: FirstStage, options: EvaluationSet, data: Retrieval, queries: dict[str, str], directory: Path
) -> Found | None:
    """Candidates from a pool or run, None if the first stage has to find them."""
    if options.pool is not None:
        return from_pool(find(directory / options.pool))
    if stage.kind != RUN:
        return None
    path = run_file(stage.argument, directory)
    if is_pool(path):
        return from_pool(path)
    found = retrieve(retriever_of(stage, data.corpus, directory), data.corpus, queries, options.depth)
    return Found({key: names for key, names in found.documents.items() if names}, found.scores)


def _found(
    stage: FirstStage,
    listed: Found | None,
    data: Retrieval,
    queries: dict[str, str],
    options: EvaluationSet,
    directory: Path,
) -> Found:
    """Candidates in the order of the first stage, at most `options.depth` of each query."""
    if listed is None:
        return retrieve(retriever_of(stage, data.corpus, directory), data.corpus, queries, options.depth)
    _check_known(listed, queries, data.corpus, options.pool or stage.argument)
    ranked = options.pool is None or (stage.kind == BM25 and LEXICAL in options.pool.name)
    if not ranked:
        listed = _ordered(stage, listed, data, queries, directory)
    return Found(
        {key: listed.documents[key][: options.depth] for key in queries},
        {key: listed.scores[key][: options.depth] for key in queries},
    )


def _ordered(stage: FirstStage, listed: Found, data: Retrieval, queries: dict[str, str], directory: Path) -> Found:
    """The same candidates by falling score of the first stage, those that it does not know last."""
    retriever, position = retriever_of(stage, data.corpus, directory), {key: i for i, key in enumerate(data.corpus)}
    asked = Queries(list(queries.values()), list(queries))
    sizes = [len(listed.documents[key]) for key in queries]
    rows = np.repeat(np.arange(len(queries)), sizes)
    columns = np.array([position[name] for key in queries for name in listed.documents[key]], dtype=np.int64)
    flat = np.nan_to_num(retriever.pair_scores(asked, rows, columns), nan=-np.inf)
    documents, scores = {}, {}
    for key, own in zip(queries, np.split(flat, np.cumsum(sizes)[:-1]), strict=True):
        positions = order(own)
        documents[key] = [listed.documents[key][i] for i in positions]
        scores[key] = own[positions]
    return Found(documents, scores)


def _check_known(listed: Found, queries: Collection[str], corpus: dict[str, str], source: object) -> None:
    for key in queries:
        names = listed.documents[key]
        if unknown := next((name for name in names if name not in corpus), None):
            raise DataError(f"{source}, query {key!r}: the corpus has no document {unknown!r}; correct the id")
        if len(set(names)) < len(names):
            raise DataError(f"{source}, query {key!r}: names a document twice; remove one of the lines")


def _notes(judged: int, answerable: int, listed: int) -> tuple[str, ...]:
    notes = []
    if answerable < judged:
        notes.append(f"{judged - answerable} of {judged} judged queries have no relevant document and are left out")
    if listed < answerable:
        notes.append(f"{answerable - listed} of {answerable} queries have no candidates in the run and are left out")
    return tuple(notes)
