"""A mean that is kept as its two parts, so that the means of several processes can be joined exactly."""

from __future__ import annotations

from typing import NamedTuple

import torch.distributed
from torch import Tensor


class Mean(NamedTuple):
    """`total` is the sum over the items of this process, `weight` their number or summed weights: shape ()."""

    total: Tensor
    weight: Tensor

    def value(self) -> Tensor:
        """The mean; 0, still with a gradient path, if there is no item."""
        return self.total / self.weight.where(self.weight > 0, 1)

    def value_across_processes(self) -> Tensor:
        """A value whose average over all processes is the mean over the items of all of them.

        Data parallel training averages the gradients of the processes. With this value, that is the gradient of one
        process that has all the items, however unevenly they are spread. Every process must call it in the same step.
        """
        if world_size() == 1:
            return self.value()
        # Of the total's dtype: a count is an integer in one process and may be a float in another.
        weight = self.weight.detach().to(self.total.dtype, copy=True)
        torch.distributed.all_reduce(weight)
        return self.total * world_size() / weight.where(weight > 0, 1)


def reduced(losses: Tensor, weight: Tensor, reduction: str) -> Mean | Tensor:
    """The losses of items, 0 where an item does not count, put together as PyTorch's losses do it.

    "mean": the `Mean` over `weight`, the items that count or their summed weights; "sum": shape (); "none": `losses`
    as they are. ValueError for another `reduction`.
    """
    if reduction == "mean":
        return Mean(losses.sum(), weight)
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', but is {reduction!r}")


def world_size() -> int:
    """The number of processes that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1
