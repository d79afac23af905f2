"""Samples of the reranking evaluators, read into lists of documents with grades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sample = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One query: the `documents` to score and their `grades`, above 0 if relevant.

    `missed` are the grades of relevant documents that the retriever did not return, where they count as ranked
    below all others. `base` are the grades in the retriever's own order, missed ones last; None if there was no
    retriever, empty if it found nothing relevant. `positives` and `negatives` are counts for the log.
    """

    text: str
    documents: list[str]
    grades: list[float]
    missed: list[float]
    base: list[float] | None
    positives: int
    negatives: int

    @property
    def hopeless(self) -> bool:
        """Whether no order of the documents earns anything."""
        return not any(grade > 0 for grade in self.grades)


def read_samples(samples: Iterable[Sample], always_rerank_positives: bool) -> list[Query]:
    """All samples. Raises ValueError naming the sample, what it lacks and the remedy."""
    queries = []
    for index, sample in enumerate(samples):
        try:
            queries.append(read_sample(sample, always_rerank_positives))
        except ValueError as error:
            raise ValueError(f"sample {index}: {error}") from None
    if not queries:
        raise ValueError("there are no samples; an evaluator needs at least one")
    return queries


def read_sample(sample: Sample, always_rerank_positives: bool) -> Query:
    """One sample: `query`, `positive`, and either `negative` or `documents`."""
    for key in ("query", "positive"):
        if sample.get(key) is None:
            raise ValueError(f"a '{key}' key is required")
    negative, documents = sample.get("negative"), sample.get("documents")
    if (negative is None) == (documents is None):
        raise ValueError("exactly one of 'negative' and 'documents' is required")
    positive, relevance = _positives(sample["positive"], sample.get("relevance"))
    if documents is not None:
        return _retrieved(sample["query"], positive, relevance, _texts(documents), always_rerank_positives)
    negative = _texts(negative)
    grades = relevance + [0.0] * len(negative)
    return Query(sample["query"], positive + negative, grades, [], None, len(positive), len(negative))


def _retrieved(
    query: str, positive: list[str], relevance: list[float], documents: list[str], always_rerank_positives: bool
) -> Query:
    grade_of = dict(zip(positive, relevance, strict=True))
    found = [grade_of.get(document, 0.0) for document in documents]
    missed = _missed(positive, relevance, documents)
    base = found + missed if any(found) else []
    if not always_rerank_positives:
        negatives = found.count(0.0)
        return Query(query, documents, found, missed if any(found) else [], base, len(positive), negatives)
    others = [document for document in documents if document not in grade_of]
    grades = relevance + [0.0] * len(others)
    return Query(query, positive + others, grades, [], base, len(positive), len(others))


def _missed(positive: Sequence[str], relevance: Sequence[float], documents: Sequence[str]) -> list[float]:
    """Grades of the positives that are not in the retriever's list; a text that it repeats counts each time."""
    left = Counter(documents)
    hits = sum(left[text] for text in set(positive))
    missed = []
    for text, grade in zip(positive, relevance, strict=True):
        if left[text]:
            left[text] -= 1
        else:
            missed.append(grade)
    return missed[: max(0, len(positive) - hits)]


def _positives(positive: Any, relevance: Sequence[float] | None) -> tuple[list[str], list[float]]:
    if isinstance(positive, Mapping):
        if relevance is not None:
            raise ValueError("'positive' has grades already; leave out 'relevance'")
        texts, grades = list(positive), [float(grade) for grade in positive.values()]
    else:
        texts = _texts(positive)
        grades = [1.0] * len(texts) if relevance is None else [float(grade) for grade in relevance]
    if len(texts) != len(grades):
        raise ValueError(
            f"'relevance' has {len(grades)} grades for {len(texts)} texts in 'positive'; give one for each"
        )
    if any(not grade > 0 for grade in grades):
        raise ValueError("grades of 'positive' are above 0; put irrelevant texts into 'negative' or 'documents'")
    return texts, grades


def _texts(value: Any) -> list[str]:
    """A string, a list or a set as a list; a set in an order that is the same in every process."""
    if isinstance(value, str):
        return [value]
    return sorted(value) if isinstance(value, set | frozenset) else list(value)
