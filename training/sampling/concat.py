"""Several datasets as one, fetched a batch at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch.utils.data import ConcatDataset


class BatchedConcatDataset(ConcatDataset[Any]):
    """A `ConcatDataset` that asks each dataset once for all rows of a batch, where the dataset can give several.

    IndexError for an index out of range.
    """

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The rows in the order of `indices`."""
        places: dict[int, list[int]] = {}
        locals_: list[int] = []
        for place, index in enumerate(indices):
            part, local = self._locate(index)
            places.setdefault(part, []).append(place)
            locals_.append(local)
        rows: list[Any] = [None] * len(locals_)
        for part, wanted in places.items():
            found = _fetch(self.datasets[part], [locals_[place] for place in wanted])
            for place, row in zip(wanted, found, strict=True):
                rows[place] = row
        return rows

    def _locate(self, index: int) -> tuple[int, int]:
        """The dataset and the row in it."""
        positive = index + len(self) if index < 0 else index
        if not 0 <= positive < len(self):
            raise IndexError(f"Row {index} of {len(self)}")
        part = bisect_right(self.cumulative_sizes, positive)
        return part, positive - (self.cumulative_sizes[part - 1] if part else 0)


def _fetch(dataset: Any, indices: list[int]) -> list[Any]:
    if hasattr(dataset, "__getitems__"):
        return list(dataset.__getitems__(indices))
    return [dataset[index] for index in indices]
