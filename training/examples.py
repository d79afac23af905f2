"""From judged documents and pairs to labelled (query, document) pairs, wrong ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from training.data.beir import Retrieval, read_retrieval
from training.data.pairs import Pair, read_pairs
from training.negatives import choose
from training.recipe import Dataset, Negatives
from training.retrieval.bm25 import Bm25Retriever
from training.retrieval.queries import Queries

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Example:
    """One pair to learn from; `label` is 1.0 for relevant, 0.0 for not."""

    query: str
    document: str
    label: float


def mined_examples(
    dataset: Dataset, path: Path, negatives: Negatives, rng: np.random.Generator, pairs: Sequence[Pair] | None = None
) -> list[Example]:
    """The examples of a BEIR directory, of a file of pairs, or of `pairs` that were read already. Raises DataError."""
    if pairs is None and path.is_dir():
        return _from_retrieval(read_retrieval(path, dataset.split), dataset.limit, negatives, rng)
    found = read_pairs(path, dataset.split) if pairs is None else pairs
    return _from_pairs(found, dataset.limit, negatives, rng)


def _from_retrieval(
    data: Retrieval, limit: int | None, negatives: Negatives, rng: np.random.Generator
) -> list[Example]:
    answerable = [key for key in data.qrels if data.relevant(key)]
    query_ids = draw(answerable, limit, rng)
    if negatives.kind == "judged":
        return [example for key in query_ids for example in _judged(data, key, negatives.count, rng)]
    position = {key: i for i, key in enumerate(data.corpus)}
    positives = [[position[key] for key in data.relevant(query_id)] for query_id in query_ids]
    queries = [data.queries[query_id] for query_id in query_ids]
    return _mined(queries, positives, list(data.corpus.values()), negatives, rng)


def _judged(data: Retrieval, query_id: str, count: int, rng: np.random.Generator) -> list[Example]:
    query, relevant = data.queries[query_id], data.relevant(query_id)
    wrong = [key for key, grade in data.qrels[query_id].items() if grade <= 0]
    kept = [(key, 0.0) for key in draw(wrong, count, rng)] + [(key, 1.0) for key in relevant]
    return [Example(query, data.corpus[key], label) for key, label in kept]


def _from_pairs(
    pairs: Sequence[Pair], limit: int | None, negatives: Negatives, rng: np.random.Generator
) -> list[Example]:
    wrong = [Example(pair.query, pair.document, 0.0) for pair in pairs if not pair.relevant]
    texts = list(dict.fromkeys(pair.document for pair in pairs if pair.relevant))
    position = {text: i for i, text in enumerate(texts)}
    answers: dict[str, list[int]] = {}
    for pair in pairs:
        if pair.relevant:
            answers.setdefault(pair.query, []).append(position[pair.document])
    if not answers:
        return draw(wrong, limit, rng)
    queries = draw(list(answers), limit, rng)
    return wrong + _mined(queries, [answers[query] for query in queries], texts, negatives, rng)


def _mined(
    queries: Sequence[str],
    positives: Sequence[Sequence[int]],
    texts: Sequence[str],
    negatives: Negatives,
    rng: np.random.Generator,
) -> list[Example]:
    """One positive per query, drawn where there are several, with its negatives."""
    needs_ranking = negatives.kind != "random" and negatives.count > 0
    ranked = _lexical(queries, texts, negatives.depth) if needs_ranking else [[]] * len(queries)
    examples = []
    for query, right, ranking in zip(queries, positives, ranked, strict=True):
        examples.append(Example(query, texts[int(rng.choice(right))], 1.0))
        wrong = choose(ranking, set(right), texts, negatives, rng)
        examples += [Example(query, texts[i], 0.0) for i in wrong]
    return examples


def _lexical(queries: Sequence[str], texts: Sequence[str], depth: int) -> list[list[int]]:
    found = Bm25Retriever(texts).top(Queries(queries), min(depth, len(texts))).indices
    return [row[row >= 0].tolist() for row in found]


def draw(items: Sequence[T], limit: int | None, rng: np.random.Generator) -> list[T]:
    """At most `limit` of the items at random, in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i] for i in sorted(rng.choice(len(items), limit, replace=False))]
