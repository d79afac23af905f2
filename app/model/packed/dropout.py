"""What the packed networks ask of dropout, and the dropout that drops nothing."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Dropout(Protocol):
    """The dropout of one chunk."""

    def __call__(self, value: Tensor, share: float) -> Tensor:
        """`value` with `share` of its elements zero and the rest scaled up."""
        ...

    def add(self, value: Tensor, residual: Tensor, share: float) -> Tensor:
        """`residual` plus `value` under dropout, in the residual's precision."""
        ...


class NoDropout:
    """Keeps everything, whatever the share: inference."""

    def __call__(self, value: Tensor, share: float) -> Tensor:
        return value

    def add(self, value: Tensor, residual: Tensor, share: float) -> Tensor:
        return value + residual
