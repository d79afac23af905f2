"""Dropout whose random numbers cost little on a CPU.

PyTorch draws one Bernoulli variable per element from a serial generator, a tenth of a training step. Here the mask is a
hash of each element's place under a key, computed in the loop that uses it, and again for the gradient, so no mask is
kept. The keys come from a generator that PyTorch's own one seeds for every chunk: as independent, and put back with
PyTorch's state (checkpoints, gradient caching).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from app.model.packed.network import rate
from training.cross_encoder.packed.arrays import array, computable

LEVELS = 1 << 32
"""A share is rounded to 1 / LEVELS; the scale of what is kept fits the rounded share, so the mean is exact."""


class Mask(NamedTuple):
    """Which elements of a tensor are kept: any tensor, as long as its number of elements stays."""

    key: tuple[np.uint32, np.uint32]
    threshold: np.uint32
    scale: np.float32

    def drop(self, value: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A copy of `value` (in `dtype`): elements that are not kept at zero, and the others times `scale`."""
        from training.cross_encoder.packed.kernels import drop  # half a second, and only training needs it

        dtype, value = dtype or value.dtype, _computable(value)
        result = torch.empty_like(value, dtype=computable(dtype))
        drop(_flat(value), _flat(result), *self)
        return result.to(dtype)

    def drop_add(self, value: Tensor, residual: Tensor) -> Tensor:
        """`drop` of `value`, plus `residual`, in the precision of that."""
        from training.cross_encoder.packed.kernels import drop_add

        value, dtype = _computable(value), residual.dtype
        residual = _computable(residual)
        result = torch.empty_like(residual)
        drop_add(_flat(value), _flat(residual), _flat(result), *self)
        return result.to(dtype)


class Dropout:
    """The dropout of one chunk on `device`. Takes a seed from PyTorch's generator at its first use."""

    def __init__(self, device: torch.device) -> None:
        self._native = device.type != "cpu"
        self._keys: np.random.SFC64 | None = None

    def mask(self, share: float) -> Mask:
        """A new mask that drops `share` of the elements of a tensor on a CPU."""
        keys = self.seed()
        threshold = min(round(share * LEVELS), LEVELS - 1)
        scale = np.float32(LEVELS / (LEVELS - threshold))
        low, high = keys.random_raw(2) & 0xFFFFFFFF
        return Mask((np.uint32(low), np.uint32(high)), np.uint32(threshold), scale)

    def seed(self) -> np.random.SFC64:
        """Takes the seed now, for a chunk whose turn comes beside others'."""
        if self._keys is None:
            self._keys = np.random.SFC64(int(torch.randint(1 << 62, ())))
        return self._keys

    def __call__(self, value: Tensor, share: float) -> Tensor:
        """`value` with `share` of its elements zero and the rest scaled up."""
        if share <= 0:
            return value
        if self._native or share >= 1:
            return functional.dropout(value, share)
        dropped: Tensor = _Drop.apply(value, self.mask(share))  # type: ignore[no-untyped-call]
        return dropped

    def add(self, value: Tensor, residual: Tensor, share: float) -> Tensor:
        """`residual` plus `value` under dropout, in the residual's precision."""
        if share <= 0 or self._native or share >= 1:
            return self(value, share) + residual
        added: Tensor = _DropAdd.apply(value, residual, self.mask(share))  # type: ignore[no-untyped-call]
        return added


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, mask: Mask) -> Tensor:
        ctx.mask = mask
        return mask.drop(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.mask.drop(grads[0]), None


class _DropAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, residual: Tensor, mask: Mask) -> Tensor:
        ctx.mask, ctx.dtype = mask, value.dtype
        return mask.drop_add(value, residual)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return ctx.mask.drop(grads[0], ctx.dtype), grads[0], None


def has_dropout(model: nn.Module) -> bool:
    """Whether any part of `model` drops something at present."""
    return any(rate(part) or (part.training and getattr(part, "attention_dropout", 0)) for part in model.modules())


def _computable(value: Tensor) -> Tensor:
    return value.to(computable(value.dtype)).contiguous()


def _flat(value: Tensor) -> Any:
    return array(value.view(-1))
