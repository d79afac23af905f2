"""Self-attention within each row of a chunk, on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.model.packed.fused_attention import attend_fused, window_mask
from app.model.packed.layout import Group, Layout
from training.cross_encoder.packed.dropout import Dropout


def attend(qkv: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None) -> Tensor:
    """Context of every token, shape (width, heads * size), from `qkv` of shape (width, 3, heads, size).

    `share` of the attention weights are dropped. A `window` lets a token see that many neighbours on either side.
    Computed in float32 whatever the precision of `qkv`: PyTorch's CPU kernels are slower in bfloat16.
    """
    if share <= 0:
        return attend_fused(qkv, layout, share, dropout, window)
    masks = [window_mask(group.length, window, qkv.device) for group in layout.groups]
    context: Tensor = _Explicit.apply(qkv, layout.groups, masks, share, dropout)  # type: ignore[no-untyped-call]
    return context


class _Explicit(torch.autograd.Function):
    """Attention by plain matrix products, which PyTorch's fused CPU kernel cannot do with dropout.

    With weights P = softmax(QK'/sqrt(size)) and the factors M of dropout, the context is (P*M)V.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, groups: tuple[Group, ...], windows: list[Tensor | None], share: float, dropout: Dropout
    ) -> Tensor:
        width, _, heads, size = qkv.shape
        context = torch.zeros(width, heads, size, dtype=qkv.dtype)
        saved = []
        for group, window in zip(groups, windows, strict=True):
            parts, mask = _heads_first(qkv, group), dropout.mask(share)
            q, k, v = parts
            scores = _scaled_product(q, k.transpose(1, 2), size**-0.5)
            weights = torch.softmax(scores if window is None else scores.add_(window), -1)
            dropped = mask.drop(weights)
            context[group.start : group.end].view(group.rows, group.length, heads, size).copy_(
                torch.bmm(dropped, v).view(group.rows, heads, group.length, size).transpose(1, 2)
            )
            saved.append((parts, weights, dropped, mask.scale))
        ctx.saved, ctx.groups, ctx.shape, ctx.dtype = saved, groups, qkv.shape, qkv.dtype
        return context.view(width, heads * size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        with torch.autocast("cpu", enabled=False):  # for those who call backward inside theirs
            return _explicit_gradient(ctx, grads[0]), None, None, None, None


def _explicit_gradient(ctx: Any, grad: Tensor) -> Tensor:
    """The gradient of `qkv`: with G that of the context, S = P * (GV' * M - rowsum(P * GV' * M)) is that of QK'."""
    from training.cross_encoder.packed.kernels import softmax_gradient

    width, _, heads, size = ctx.shape
    grad = grad.view(width, heads, size)
    result = torch.empty(ctx.shape, dtype=ctx.dtype)
    result[ctx.groups[-1].end :] = 0
    for group, ((q, k, v), weights, dropped, scale) in zip(ctx.groups, ctx.saved, strict=True):
        shape = (group.rows, group.length, heads, size)
        outer = grad[group.start : group.end].view(shape).transpose(1, 2).float().reshape(-1, group.length, size)
        inner = torch.empty(3, *q.shape)
        torch.bmm(dropped.transpose(1, 2), outer, out=inner[2])
        slope = torch.bmm(outer, v.transpose(1, 2))
        softmax_gradient(
            *(one.view(-1).numpy() for one in (weights, dropped, slope)), group.length, scale, np.float32(size**-0.5)
        )
        torch.bmm(slope, k, out=inner[0])
        torch.bmm(slope.transpose(1, 2), q, out=inner[1])
        result[group.start : group.end].view(group.rows, group.length, 3, heads, size).permute(2, 0, 3, 1, 4).copy_(
            inner.view(3, group.rows, heads, group.length, size)
        )
    return result


def _scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """`scale` times the matrix products, without a pass of its own."""
    result = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    return torch.baddbmm(result, left, right, beta=0, alpha=scale, out=result)


def _heads_first(qkv: Tensor, group: Group) -> Tensor:
    """A group's queries, keys and values in float32, shape (3, rows * heads, length, size)."""
    _, _, heads, size = qkv.shape
    part = qkv[group.start : group.end].view(group.rows, group.length, 3, heads, size).permute(2, 0, 3, 1, 4)
    return part.float().reshape(3, group.rows * heads, group.length, size)
