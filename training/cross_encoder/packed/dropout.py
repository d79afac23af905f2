"""Dropout whose random numbers cost little on a CPU.

PyTorch draws one Bernoulli variable per element from a serial generator, a tenth of a training step. Here each element
takes 16 random bits of a fast generator that PyTorch's own one seeds for every chunk: as independent, and put back
with PyTorch's state (checkpoints, gradient caching).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LEVELS = 1 << 16
"""A share is rounded to 1 / LEVELS; the scale of what is kept fits the rounded share, so the mean is exact."""


class Dropout:
    """The dropout of one chunk on `device`. Takes a seed from PyTorch's generator at its first use."""

    def __init__(self, device: torch.device) -> None:
        self._native = device.type != "cpu"
        self._bits: np.random.SFC64 | None = None

    def keep(self, shape: tuple[int, ...], share: float) -> tuple[Tensor, float]:
        """1 for what is kept and 0 for the `share` that is dropped (uint8), and the factor for what is kept.

        No booleans: PyTorch converts those to numbers at a tenth of the speed.
        """
        if self._bits is None:
            self._bits = np.random.SFC64(int(torch.randint(1 << 62, ())))
        count = int(np.prod(shape))
        threshold = min(round(share * LEVELS), LEVELS - 1)
        raw = self._bits.random_raw(-(-count // 4)).view(np.int16)[:count]
        kept = np.greater_equal(raw, threshold - LEVELS // 2).view(np.uint8)
        return torch.from_numpy(kept).view(shape), LEVELS / (LEVELS - threshold)

    def __call__(self, value: Tensor, share: float) -> Tensor:
        """`value` with `share` of its elements zero and the rest scaled up."""
        if share <= 0:
            return value
        if self._native or share >= 1:
            return functional.dropout(value, share)
        kept, scale = self.keep(tuple(value.shape), share)
        dropped: Tensor = _Drop.apply(value, kept, scale)  # type: ignore[no-untyped-call]
        return dropped

    def add(self, value: Tensor, residual: Tensor, share: float) -> Tensor:
        """`residual` plus `value` under dropout, in the residual's precision."""
        if share <= 0 or self._native or share >= 1:
            return self(value, share) + residual
        kept, scale = self.keep(tuple(value.shape), share)
        added: Tensor = _DropAdd.apply(value, residual, kept, scale)  # type: ignore[no-untyped-call]
        return added


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return value * factor(kept, scale, value.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (kept,), (grad,) = ctx.saved_tensors, grads
        return factor(kept, ctx.scale, grad.dtype).mul_(grad), None, None


class _DropAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, residual: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale, ctx.dtype = scale, value.dtype
        return factor(kept, scale, residual.dtype).mul_(value.to(residual.dtype)).add_(residual)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (kept,), (grad,) = ctx.saved_tensors, grads
        return factor(kept, ctx.scale, grad.dtype).mul_(grad).to(ctx.dtype), grad, None, None


def factor(kept: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """What to multiply by: `scale` where `kept`, else 0. Mixed types in a product would be many times slower."""
    return kept.to(dtype).mul_(scale)
