"""Rotary position embedding of queries and keys that lie beside their values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def rotate(qkv: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """`qkv`, shape (width, 3, heads, size), with queries and keys turned by the angles of their positions.

    `cosines` and `sines`: shape (width, size), both halves equal. Component i of the first half is turned against
    component i of the second, as transformers does.
    """
    rotated: Tensor = _Rotate.apply(qkv, cosines, sines)  # type: ignore[no-untyped-call]
    return rotated


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _turned(qkv, cosines, sines)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _turned(grads[0], cosines, -sines), None, None  # the transpose of a rotation is the one back


def _turned(qkv: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    half = qkv.shape[-1] // 2
    cos, sin = cosines[:, None, None, :half], sines[:, None, None, :half]
    left, right = qkv[:, :2, :, :half].float(), qkv[:, :2, :, half:].float()
    result = torch.empty_like(qkv, memory_format=torch.contiguous_format)
    result[:, 2] = qkv[:, 2]
    result[:, :2, :, :half] = left * cos - right * sin
    result[:, :2, :, half:] = right * cos + left * sin
    return result
