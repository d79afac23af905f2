"""Scoring that several processes share.

The trainer's evaluations are `shared`: every process of the group calls the same evaluator on the same data. Pairs are
sorted by length and dealt out in turn, so all processes get the same mix of lengths and finish together; each then
holds all scores, and so computes the same metrics. Elsewhere, as in a script that evaluates on one process in the end,
whoever calls an evaluator scores all pairs, and waits for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from training.util.distributed import get_rank, get_world_size

Pair = Sequence[str]
Scores = NDArray[Any]

_shares: ContextVar[bool] = ContextVar("shares", default=False)


@contextmanager
def shared() -> Iterator[None]:
    """Within it each process scores its share; all must call the same evaluators on the same data.

    Not for models whose forward pass is itself a joint work of all processes (FSDP, DeepSpeed ZeRO-3), which must see
    the same batches.
    """
    token = _shares.set(True)
    try:
        yield
    finally:
        _shares.reset(token)


def predict(
    model: Any, pairs: Sequence[Pair], *, prompt_name: str | None, batch_size: int, show_progress_bar: bool
) -> Scores:
    """Scores of `model.predict` in the order of `pairs`: shape (pairs,), or (pairs, labels).

    Raises what `predict` raises; a process whose neighbour failed raises RuntimeError instead of waiting for it.
    """
    rank, world = get_rank(), get_world_size()
    options = {"prompt_name": prompt_name, "batch_size": batch_size, "convert_to_numpy": True}
    if world == 1 or not _shares.get():
        return np.asarray(model.predict(pairs, show_progress_bar=show_progress_bar, **options))
    order = longest_first(pairs)
    own, failure = None, None
    try:
        if share := [pairs[i] for i in order[rank::world]]:
            own = np.asarray(model.predict(share, show_progress_bar=show_progress_bar and rank == 0, **options))
    except Exception as error:
        failure = error
    return _merge(own, failure, order)


def longest_first(pairs: Sequence[Pair]) -> list[int]:
    """Indices of the pairs by falling number of characters, equal ones in their order."""
    lengths = [sum(map(len, pair)) for pair in pairs]
    return sorted(range(len(pairs)), key=lambda i: -lengths[i])


def _merge(own: Scores | None, failure: Exception | None, order: Sequence[int]) -> Scores:
    world = get_world_size()
    parts: list[Any] = [None] * world
    distributed.all_gather_object(parts, (own, None if failure is None else repr(failure)))
    if failure is not None:
        raise failure
    for rank, (_, error) in enumerate(parts):
        if error is not None:
            raise RuntimeError(f"process {rank} failed while it scored its share of the evaluation: {error}")
    first = parts[0][0]
    if first is None:
        return np.zeros(0, dtype=np.float32)
    scores = np.empty((len(order), *first.shape[1:]), dtype=first.dtype)
    for rank, (part, _) in enumerate(parts):
        if part is not None:
            scores[order[rank::world]] = part
    return scores
