"""Batches of datasets that are read from beginning to end and have no length."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from training.cross_encoder.columns import DATASET_NAME

Rows = list[dict[str, Any]]
Check = Callable[[Rows, Sequence[int]], None]
"""Looks at rows, which are those with these numbers, and raises an error for a wrong one."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How several streams become one: in turn, or drawn by weight (equal ones if none are given)."""

    in_turn: bool = False
    weights: Mapping[str, float] | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """Which process of how many this is."""

    rank: int = 0
    world: int = 1


class Batch(Rows):
    """Rows, and how many batches their round has: processes from that number on got a batch that is another's."""

    def __init__(self, rows: Rows, in_round: int) -> None:
        super().__init__(rows)
        self.in_round = in_round


class StreamBatches(IterableDataset[Rows]):
    """Lists of `batch_size` rows, each list from one of the `streams` (by name; None where there is only one).

    `endless` streams start again when they end, as the next epoch, and no row is dropped: that is for training, where
    `max_steps` says when to stop, and it makes a resumed run find its place also in a later epoch. In a round every
    process gets one batch, of endless streams all from the same one. In the last round of streams that end there may
    be fewer batches than processes, some of which then get another's: see `Batch`.

    `checks` (by name) look at the rows of each batch, which are counted as this process or worker reads them, anew in
    each epoch.
    """

    def __init__(
        self,
        streams: Mapping[Any, Iterable[Mapping[str, Any]]],
        batch_size: int,
        *,
        endless: bool,
        drop_last: bool = False,
        mix: Mix | None = None,
        share: Share | None = None,
        checks: Mapping[Any, Check | None] | None = None,
    ) -> None:
        super().__init__()
        self.streams = dict(streams)
        self.batch_size = batch_size
        self.endless = endless
        self.drop_last = drop_last
        self.mix = mix or Mix()
        self.share = share or Share()
        self.checks = dict(checks or {})

    def __iter__(self) -> Iterator[Rows]:
        batches = self._mixed()
        while found := list(islice(batches, self.share.world)):
            if len(found) == self.share.world or not self.drop_last:
                yield Batch(found[self.share.rank % len(found)], len(found))

    def _mixed(self) -> Iterator[Rows]:
        parts = {name: self._batches(name) for name in self.streams}
        run = self.share.world if self.endless else 1
        for name in self._turns():
            if name not in parts:
                continue
            found = list(islice(parts[name], run))
            yield from found
            if not found:
                del parts[name]  # nothing at all in it, or (where it ends) nothing more
                if not parts:
                    return

    def _turns(self) -> Iterator[Any]:
        names = list(self.streams)
        if len(names) == 1 or self.mix.in_turn:
            return chain.from_iterable(repeat(names))
        worker = get_worker_info()
        draw = random.Random(self.mix.seed + (worker.id if worker else 0))  # noqa: S311 - shuffles data, no secret
        weights = [1.0 if self.mix.weights is None else self.mix.weights[name] for name in names]
        return (name for _ in repeat(None) for name in draw.choices(names, weights))

    def _batches(self, name: Any) -> Iterator[Rows]:
        batch: Rows = []
        numbers: list[int] = []
        check = self.checks.get(name) or (lambda *_: None)
        for number, row in self._rows(name):
            batch.append(row)
            numbers.append(number)
            if len(batch) == self.batch_size:
                check(batch, numbers)
                yield batch
                batch, numbers = [], []
        if batch and not self.drop_last:
            check(batch, numbers)
            yield batch

    def _rows(self, name: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        stream = self.streams[name]
        added = {} if name is None else {DATASET_NAME: name}
        epoch = 0
        while True:
            if hasattr(stream, "set_epoch"):
                stream.set_epoch(epoch)
            is_empty = True
            for number, row in enumerate(stream):
                is_empty = False
                yield number, {**row, **added}
            epoch += 1
            if is_empty or not self.endless:
                return


def is_stream(dataset: Any) -> bool:
    """Whether `dataset` can only be iterated over."""
    return hasattr(dataset, "__iter__") and not hasattr(dataset, "__len__")


def share_of(dataset: Any, rank: int, world: int) -> Share:
    """This process's share; a dataset that was split by `split_dataset_by_node` is a share already."""
    return Share() if getattr(dataset, "_distributed", None) is not None else Share(rank, world)
