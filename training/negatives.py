"""Choosing wrong documents to train against: never a known positive, nor a near copy of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from training.recipe import Negatives

NEAR_COPY = 0.8
"""Share of common words from which an unjudged document counts as the positive in other words."""


def near_copy(text: str, of: Iterable[str]) -> bool:
    """Whether the words of `text` overlap those of any other text by Jaccard similarity of at least NEAR_COPY."""
    words = set(text.lower().split())
    return any(_jaccard(words, set(other.lower().split())) >= NEAR_COPY for other in of)


def choose(
    ranked: Sequence[int],
    excluded: set[int],
    texts: Sequence[str],
    options: Negatives,
    rng: np.random.Generator,
) -> list[int]:
    """Up to `options.count` positions in `texts`: from the BM25 ranking `ranked`, at random, or mixed.

    `excluded` are the positions of the relevant documents. Fewer come back only where the corpus has no more.
    """
    from_random = {"random": options.count, "mixed": min(1, options.count)}.get(options.kind, 0)
    positives = [texts[i] for i in excluded]

    def acceptable(position: int) -> bool:
        return position not in excluded and not near_copy(texts[position], positives)

    window = [i for i in ranked[options.skip : options.depth] if i not in excluded]
    chosen = _first(rng.permutation(window), options.count - from_random, acceptable) if window else []
    spare = rng.permutation(len(texts))[: 4 * options.count + len(excluded)]
    rest = [int(i) for i in spare if int(i) not in chosen]
    return chosen + _first(rest, options.count - len(chosen), acceptable)


def _first(positions: Iterable[int], count: int, acceptable: Callable[[int], bool]) -> list[int]:
    found: list[int] = []
    for position in positions:
        if len(found) >= count:
            break
        if acceptable(int(position)):
            found.append(int(position))
    return found


def _jaccard(first: set[str], second: set[str]) -> float:
    union = len(first | second)
    return len(first & second) / union if union else 0.0
