"""From a problem and a retriever to negatives: candidates, scores, filters, window, sample."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from app.model.types import FloatArray
from training.mining.filters import Drop, Mask, Skipped, drops, lowest_positive, own_positives, teacher_drops
from training.mining.options import MiningOptions
from training.mining.positives import IndexArray, Problem
from training.mining.selection import Draw, joined, kept, random_documents, selected
from training.retrieval.hits import Hits, best_first, no_hits
from training.retrieval.queries import Queries

if TYPE_CHECKING:
    from training.retrieval import Retriever


class PairScorer(Protocol):
    """Scores pairs of a problem, as a cross-encoder does."""

    def pair_scores(self, problem: Problem, queries: IndexArray, documents: IndexArray) -> FloatArray:
        """The score of each pair (query, document), given as indices: shape (pairs,)."""
        ...


@dataclass(frozen=True, eq=False)
class Mined:
    """Negatives of each query and how they were found, whatever form they are written in.

    `indices` and `scores` have shape (queries, num_negatives): the mined ones, best first, then those drawn from the
    whole corpus, then -1 and -inf where there are fewer.
    `positive_scores` follow `Problem.positives`. `skipped` says what each filter dropped of the `candidates`.
    `suspects`, of shape (queries, 1), are the best candidates that were dropped for being too near: perhaps positives
    that nobody marked. `options` have their `range_max` set.
    """

    indices: IndexArray
    scores: FloatArray
    positive_scores: FloatArray
    skipped: list[Skipped]
    candidates: int
    suspects: Hits
    options: MiningOptions


def mine(
    problem: Problem,
    retriever: Retriever,
    options: MiningOptions,
    *,
    rescorer: PairScorer | None = None,
    teacher: PairScorer | None = None,
) -> Mined:
    """The negatives of each query.

    With a `rescorer`, its scores stand for the retriever's, of candidates and of positives. The `teacher` only drops:
    it is asked about what the other filters left. ValueError if the options need a teacher and there is none.
    """
    if options.uses_teacher and teacher is None:
        raise ValueError("teacher_margin and teacher_max_score need a teacher: give a cross-encoder as teacher")
    options = options.resolved(problem.max_positives, rescored=rescorer is not None)
    assert options.range_max is not None
    draw: Draw = random if options.seed is None else random.Random(options.seed)  # noqa: S311 - picks texts, no secret
    queries = Queries(problem.queries.to_pylist(), problem.query_ids)
    found = retriever.top(queries, options.range_max + problem.max_positives)
    scorer = rescorer or _Given(retriever, queries)
    if rescorer is None:
        positive_scores = scorer.pair_scores(problem, problem.positives.queries, problem.positives.documents)
    else:
        found, positive_scores = rescored(problem, found, rescorer, options.include_positives)
    sieve = _Sieve(problem, found, options.include_positives)
    sieve.drop(drops(options, found.scores, positive_scores, lowest_positive(positive_scores, problem.positives)))
    if teacher is not None:
        sieve.drop(taught(problem, found, sieve.keep, teacher, options))
    mined = selected(found, sieve.keep, options, draw)
    if options.random_count:
        mined = joined(mined, _random_hits(problem, mined, scorer, options, draw))
    suspects = kept(found, sieve.suspicious, 0, 1)
    return Mined(*mined, positive_scores, sieve.skipped, sieve.candidates, suspects, options)


def rescored(problem: Problem, found: Hits, scorer: PairScorer, include_positives: bool) -> tuple[Hits, FloatArray]:
    """Candidates in the order of the scorer, and its scores of the positives. Each different pair is scored once."""
    wanted = found.indices >= 0
    if not include_positives:
        wanted &= ~own_positives(found.indices, problem.positives, len(problem.corpus))
    candidate_scores, positive_scores = _scores_of(problem, found.indices, wanted, scorer)
    return best_first(found.indices, candidate_scores, found.indices.shape[1]), positive_scores


def _scores_of(
    problem: Problem, candidates: IndexArray, wanted: Mask, scorer: PairScorer
) -> tuple[FloatArray, FloatArray]:
    """Scores of the wanted candidates, -inf elsewhere, and of the positives, from one pass over all different pairs."""
    rows, columns = np.nonzero(wanted)
    size = len(problem.corpus)
    keys = np.concatenate(
        [rows * size + candidates[rows, columns], problem.positives.queries * size + problem.positives.documents]
    )
    different, places = np.unique(keys, return_inverse=True)
    values = scorer.pair_scores(problem, different // size, different % size)
    if np.isnan(values).any():
        raise ValueError("the cross-encoder gave NaN for some pairs; check its weights and precision")
    scores = np.full(candidates.shape, -np.inf, dtype=np.float32)
    scores[rows, columns] = values[places[: len(rows)]]
    return scores, values[places[len(rows) :]]


def taught(problem: Problem, found: Hits, keep: Mask, teacher: PairScorer, options: MiningOptions) -> Iterator[Drop]:
    """What the teacher drops of the candidates that are still there."""
    scores, positive_scores = _scores_of(problem, found.indices, keep, teacher)
    return teacher_drops(options, scores, lowest_positive(positive_scores, problem.positives))


class _Sieve:
    """Which candidates are left, and what each filter dropped."""

    def __init__(self, problem: Problem, found: Hits, include_positives: bool) -> None:
        self.keep: Mask = found.indices >= 0
        if not include_positives:
            self.keep &= ~own_positives(found.indices, problem.positives, len(problem.corpus))
        self.candidates = int(self.keep.sum())
        self.suspicious: Mask = np.zeros_like(self.keep)
        self.skipped: list[Skipped] = []
        self._left = self.candidates

    def drop(self, verdicts: Iterable[Drop]) -> None:
        for verdict in verdicts:
            dropped = self.keep & verdict.mask
            count = int(dropped.sum())
            self.skipped.append(Skipped(verdict.name, verdict.value, count, self._left))
            self._left -= count
            self.keep &= ~verdict.mask
            if verdict.suspicious:
                self.suspicious |= dropped


class _Given:
    """The retriever's own scores of pairs."""

    def __init__(self, retriever: Retriever, queries: Queries) -> None:
        self._retriever = retriever
        self._queries = queries

    def pair_scores(self, problem: Problem, queries: IndexArray, documents: IndexArray) -> FloatArray:
        return self._retriever.pair_scores(self._queries, queries, documents)


def _random_hits(problem: Problem, mined: Hits, scorer: PairScorer, options: MiningOptions, draw: Draw) -> Hits:
    """Documents of the whole corpus with their scores."""
    documents = random_documents(problem, mined.indices, options.random_count, draw)
    hits = Hits(documents, no_hits(*documents.shape).scores)
    rows, columns = np.nonzero(documents >= 0)
    hits.scores[rows, columns] = scorer.pair_scores(problem, rows, documents[rows, columns])
    return hits
