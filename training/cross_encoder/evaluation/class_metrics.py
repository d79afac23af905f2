"""Metrics of classifiers, over NumPy arrays: `labels` 0 or 1 where scores are ranked, class numbers elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class BestF1(NamedTuple):
    """The highest F1 score that a threshold reaches, and what it is made of."""

    f1: float
    precision: float
    recall: float
    threshold: float


def best_accuracy(scores: Array, labels: Array) -> tuple[float, float]:
    """The highest accuracy of "positive if above the threshold", and the threshold, in the scores' dtype.

    Scores that are equal are never parted. Calling nothing positive counts too: its threshold is the next number
    above the highest score. Of equal accuracies the one with the fewest positives is taken.
    """
    ranked, hits, ends = _cuts(scores, labels)
    negatives = len(hits) - hits.sum()
    right = np.concatenate([[negatives], 2 * hits.cumsum()[ends] + negatives - (ends + 1)])
    best = int(np.argmax(right))
    if best == 0:
        dtype = np.result_type(ranked.dtype, np.float16)
        return float(right[0] / len(hits)), np.nextafter(ranked[0], np.inf, dtype=dtype)
    return float(right[best] / len(hits)), _threshold(ranked, ends[best - 1])


def best_f1(scores: Array, labels: Array) -> BestF1:
    """The highest F1 score of "positive if above the threshold", ties as in `best_accuracy`; 0 if nothing is."""
    ranked, hits, ends = _cuts(scores, labels)
    found = hits.cumsum()[ends]
    if not found[-1]:
        return BestF1(0, 0, 0, 0)
    precision, recall = found / (ends + 1), found / found[-1]
    f1 = np.divide(2 * precision * recall, precision + recall, out=np.zeros(len(found)), where=found > 0)
    best = int(np.argmax(f1))
    return BestF1(float(f1[best]), float(precision[best]), float(recall[best]), _threshold(ranked, ends[best]))


def f1_averages(labels: Array, predicted: Array) -> dict[str, float]:
    """Macro, micro and weighted mean of the F1 scores of every class that was labelled or predicted."""
    classes, codes = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    true, guessed = codes[: len(labels)], codes[len(labels) :]
    count = len(classes)
    support = np.bincount(true, minlength=count)
    right = np.bincount(true[true == guessed], minlength=count)
    sizes = support + np.bincount(guessed, minlength=count)
    scores = 2 * right / sizes
    return {
        "f1_macro": float(np.average(scores)),
        "f1_micro": float(2 * right.sum() / sizes.sum()),
        "f1_weighted": float(np.average(scores, weights=support)),
    }


def f1_of_class(labels: Array, predicted: Array, wanted: int = 1) -> float:
    """The F1 score of one class, 0 if it is neither labelled nor predicted."""
    right = np.count_nonzero((labels == wanted) & (predicted == wanted))
    sizes = np.count_nonzero(labels == wanted) + np.count_nonzero(predicted == wanted)
    return float(2 * right / sizes) if sizes else 0.0


def class_labels(labels: Sequence[Any]) -> Array:
    """`labels` as integers, True and False as 1 and 0. Raises ValueError for what is no class id."""
    found = np.asarray(labels)
    if found.dtype.kind in "iu":
        return found
    odd = [each for each in found.tolist() if not (isinstance(each, int | float) and float(each).is_integer())]
    if odd:
        raise ValueError(f"labels are class ids, which are integers; found {odd[0]!r}; map the labels to 0, 1, ...")
    return found.astype(np.int64)


def binary_labels(labels: Array) -> Array:
    """`labels` as they are. Raises ValueError unless they are 0 and 1, as scores of one output need them."""
    if not np.isin(labels, (0, 1)).all():
        odd = labels[~np.isin(labels, (0, 1))][0]
        raise ValueError(f"a model with one output is evaluated on labels 0 and 1; found {odd!r}; map the labels")
    return labels


def check_pairs(pairs: Sequence[Any], labels: Sequence[Any], what: str = "labels") -> None:
    """Raises ValueError unless there is one label per pair, and a pair."""
    if len(pairs) != len(labels):
        raise ValueError(
            f"sentence_pairs and {what} must have the same length; there are {len(pairs)} pairs and "
            f"{len(labels)} {what}"
        )
    if not len(pairs):
        raise ValueError("there are no sentence_pairs; an evaluator needs at least one")


def single_scores(scores: Array) -> Array:
    """`scores` as they are. Raises ValueError unless they are finite and one per pair."""
    if scores.ndim != 1:
        raise ValueError(
            f"one score per pair is needed, the model gave the shape {scores.shape}; use a model with num_labels=1"
        )
    return _finite(scores)


def class_scores(scores: Array) -> Array:
    """`scores` as they are. Raises ValueError unless they are finite and several per pair."""
    if scores.ndim != 2:
        raise ValueError(
            f"several scores per pair are needed, the model gave the shape {scores.shape}; use a model with "
            "num_labels of 2 or more"
        )
    return _finite(scores)


def _finite(scores: Array) -> Array:
    wrong = np.count_nonzero(~np.isfinite(scores))
    if wrong:
        raise ValueError(f"{wrong} of {scores.size} scores are NaN or infinite; has the training diverged?")
    return scores


def _cuts(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Falling scores, their labels, and the last index of each run of equal scores."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    return ranked, labels[order].astype(np.int64), np.flatnonzero(np.append(np.diff(ranked) != 0, True))


def _threshold(ranked: Array, end: int) -> float:
    """Halfway to the next score; where rounding would reach that score, the score at `end` itself."""
    if end == len(ranked) - 1:
        return ranked[end]  # type: ignore[no-any-return]
    middle = (ranked[end] + ranked[end + 1]) / 2
    return ranked[end] if middle == ranked[end + 1] else middle  # type: ignore[no-any-return]
