"""Self-attention with dropout within each row of a chunk, on one core of a CPU, by products of our own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.model.packed.layout import Group, Layout
from app.model.vnni.tile_size import COLUMNS, ROWS
from training.cross_encoder.packed.arrays import array
from training.cross_encoder.packed.cpu_attention import attend
from training.cross_encoder.packed.dropout import Dropout


def attend_tiled(qkv: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None) -> Tensor:
    """As `cpu_attention.attend`, with the same masks; where PyTorch has several threads at its disposal, it is that."""
    if share <= 0 or torch.get_num_threads() > 1:
        return attend(qkv, layout, share, dropout, window)
    context: Tensor = _Tiled.apply(qkv, layout.groups, window, share, dropout)  # type: ignore[no-untyped-call]
    return context


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, groups: tuple[Group, ...], window: int | None, share: float, dropout: Dropout
    ) -> Tensor:
        from training.cross_encoder.packed import attention_loops  # a second, and only training needs it

        width, _, heads, size = qkv.shape
        ctx.groups, ctx.shape, ctx.dtype = groups, qkv.shape, qkv.dtype
        ctx.masks = [dropout.mask(share) for _ in groups]
        ctx.weights = [_room(group, heads) for group in groups]
        flat = _readable(qkv).reshape(width, -1)
        context = flat.new_empty(width, heads * size)
        context[groups[-1].end :] = 0
        for group, mask, weights in zip(groups, ctx.masks, ctx.weights, strict=True):
            reach = group.length if window is None else window
            shape, arrays = (group.rows, group.length, heads, size), (weights.numpy(), array(context))
            attention_loops.attend(array(flat), group.start, shape, _factor(size), reach, mask, *arrays)
        ctx.save_for_backward(flat)
        return context.to(qkv.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        from training.cross_encoder.packed.attention_loops import attend_gradient

        (flat,), (_, _, heads, size) = ctx.saved_tensors, ctx.shape
        grad, result = grads[0].to(flat.dtype).contiguous(), torch.empty_like(flat)
        result[ctx.groups[-1].end :] = 0
        for group, mask, weights in zip(ctx.groups, ctx.masks, ctx.weights, strict=True):
            shape, arrays = (group.rows, group.length, heads, size), (array(grad), array(result))
            attend_gradient(array(flat), group.start, shape, _factor(size), mask, weights.numpy(), *arrays)
        return result.view(ctx.shape).to(ctx.dtype), None, None, None, None


def _readable(value: Tensor) -> Tensor:
    """In bfloat16 or float32."""
    return value if value.dtype == torch.bfloat16 else value.float()


def _room(group: Group, heads: int) -> Tensor:
    """For a group's attention weights."""
    return torch.empty(group.rows * heads, *(-(-group.length // one) * one for one in (ROWS, COLUMNS)))


def _factor(size: int) -> np.float32:
    return np.float32(size**-0.5)
