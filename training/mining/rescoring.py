"""Scores of many pairs by a cross-encoder: one pass over all of them, longest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np
import pyarrow.compute as pc

from app.model.types import FloatArray
from training.mining.pair_store import Keys, PairStore
from training.mining.positives import IndexArray, Problem, Texts, taken

PAIRS_PER_CHUNK = 1024
"""Pairs whose texts are in memory at once, and that an interruption may cost."""


Pair = tuple[str, str]
PredictMany = Callable[[Iterable[Sequence[Pair]]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Scores of some pairs, NaN at those that are still to be predicted: `missing`, stored under `keys`."""

    scores: FloatArray
    missing: list[Pair]
    keys: Keys | None


class CrossEncoderScorer:
    """Scores pairs with a model that has `predict(pairs, batch_size=, ...)` and one output.

    With a `store`, pairs that it knows are not scored again. `pool` is one of the model's pools of processes;
    `predict_many` predicts chunk after chunk in place of the model, and may compute some ahead.
    """

    def __init__(
        self,
        model: Any,
        *,
        batch_size: int = 32,
        pool: Any = None,
        store: PairStore | None = None,
        progress: bool = True,
        name: str = "Rescoring with CrossEncoder",
        predict_many: PredictMany | None = None,
    ) -> None:
        self._model = model
        self._options = {"batch_size": batch_size, **({} if pool is None else {"pool": pool})}
        self._store = store
        self._progress = progress
        self._name = name
        self._predict_many = predict_many or self._one_by_one

    def pair_scores(self, problem: Problem, queries: IndexArray, documents: IndexArray) -> FloatArray:
        """The score of each pair (query, document), given as indices: shape (pairs,). ValueError for a model with
        several outputs."""
        from tqdm.auto import tqdm

        order = np.argsort(-(_lengths(problem.queries)[queries] + _lengths(problem.corpus)[documents]), kind="stable")
        scores = np.empty(len(order), dtype=np.float32)
        places = [order[start : start + PAIRS_PER_CHUNK] for start in range(0, len(order), PAIRS_PER_CHUNK)]
        chunks, ahead = tee(self._looked_up(problem, queries[place], documents[place]) for place in places)
        predicted = iter(self._predict_many(chunk.missing for chunk in ahead if chunk.missing))
        with tqdm(total=len(order), desc=self._name, unit="pair", disable=not self._progress) as bar:
            for place, chunk in zip(places, chunks, strict=True):
                if chunk.missing:
                    self._complete(chunk, next(predicted))
                scores[place] = chunk.scores
                bar.update(len(place))
        return scores

    def _looked_up(self, problem: Problem, queries: IndexArray, documents: IndexArray) -> Chunk:
        first, second = taken(problem.queries, queries), taken(problem.corpus, documents)
        pairs = list(zip(first.to_pylist(), second.to_pylist(), strict=True))
        if self._store is None:
            return Chunk(np.full(len(pairs), np.nan, dtype=np.float32), pairs, None)
        keys = self._store.keys(pairs)
        scores = self._store.known(keys)
        missing = np.flatnonzero(np.isnan(scores))
        return Chunk(scores, [pairs[i] for i in missing], keys[missing])

    def _complete(self, chunk: Chunk, found: Any) -> None:
        scores = np.asarray(found, dtype=np.float32)
        if scores.shape != (len(chunk.missing),):
            raise ValueError(
                f"mining needs a cross-encoder with one score per pair, but this one gives an array of shape"
                f" {scores.shape} for {len(chunk.missing)} pairs; take one with num_labels=1"
            )
        chunk.scores[np.isnan(chunk.scores)] = scores
        if self._store is not None and chunk.keys is not None:
            self._store.add(chunk.keys, scores)

    def _one_by_one(self, chunks: Iterable[Sequence[Pair]]) -> Iterator[Any]:
        for pairs in chunks:
            yield self._model.predict(pairs, convert_to_numpy=True, show_progress_bar=False, **self._options)


def _lengths(texts: Texts) -> IndexArray:
    """Characters of each text."""
    return np.asarray(pc.utf8_length(texts).to_numpy(), dtype=np.int64)
