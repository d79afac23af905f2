"""Self-attention within each row of a chunk, on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.cross_encoder.packed.dropout import Dropout, factor
from training.cross_encoder.packed.layout import Group, Layout


def attend(qkv: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None) -> Tensor:
    """Context of every token, shape (width, heads * size), from `qkv` of shape (width, 3, heads, size).

    `share` of the attention weights are dropped. A `window` lets a token see that many neighbours on either side.
    Computed in float32 whatever the precision of `qkv`: PyTorch's CPU kernels are slower in bfloat16.
    """
    masks = [_window_mask(group.length, window, qkv.device) for group in layout.groups]
    if share <= 0:
        return _fused(qkv.float(), layout, masks).to(qkv.dtype)
    context: Tensor = _Explicit.apply(qkv, layout.groups, masks, share, dropout)  # type: ignore[no-untyped-call]
    return context


def _split(packed: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    """The tokens of each group. One split: its gradient is one concatenation, where slices would each fill zeros."""
    sizes = [group.end - group.start for group in layout.groups]
    return torch.split(packed, [*sizes, layout.width - layout.tokens])[:-1]


def _window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """0 where two tokens see each other, else minus infinity: shape (length, length)."""
    if window is None or length <= window + 1:
        return None
    place = torch.arange(length, device=device)
    far = (place[:, None] - place[None, :]).abs() > window
    return torch.zeros(length, length, device=device).masked_fill_(far, -torch.inf)


def _fused(qkv: Tensor, layout: Layout, masks: list[Tensor | None]) -> Tensor:
    """Without dropout PyTorch's fused kernel applies, group by group."""
    _, _, heads, size = qkv.shape
    contexts = []
    for group, part, mask in zip(layout.groups, _split(qkv, layout), masks, strict=True):
        q, k, v = part.view(group.rows, group.length, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)
        context = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        contexts.append(context.transpose(1, 2).reshape(-1, heads * size))
    contexts.append(qkv.new_zeros(layout.width - layout.tokens, heads * size))
    return torch.cat(contexts)


class _Explicit(torch.autograd.Function):
    """Attention by plain matrix products, which PyTorch's fused CPU kernel cannot do with dropout.

    With weights P = softmax(QK'/sqrt(size)) and the factors M of dropout, the context is (P*M)V.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, groups: tuple[Group, ...], masks: list[Tensor | None], share: float, dropout: Dropout
    ) -> Tensor:
        width, _, heads, size = qkv.shape
        context = torch.zeros(width, heads, size, dtype=qkv.dtype)
        saved = []
        for group, mask in zip(groups, masks, strict=True):
            parts = _heads_first(qkv, group)
            q, k, v = parts
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(size**-0.5)
            weights = torch.softmax(scores if mask is None else scores.add_(mask), -1)
            kept, scale = dropout.keep(tuple(weights.shape), share)
            found = torch.bmm(factor(kept, scale, weights.dtype).mul_(weights), v)
            context[group.start : group.end].view(group.rows, group.length, heads, size).copy_(
                found.view(group.rows, heads, group.length, size).transpose(1, 2)
            )
            saved.append((parts, weights, kept))
        ctx.saved, ctx.groups, ctx.shape, ctx.dtype = saved, groups, qkv.shape, qkv.dtype
        ctx.scale = scale
        return context.view(width, heads * size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        with torch.autocast("cpu", enabled=False):  # for those who call backward inside theirs
            return _explicit_gradient(ctx, grads[0]), None, None, None, None


def _explicit_gradient(ctx: Any, grad: Tensor) -> Tensor:
    """The gradient of `qkv`: with G that of the context, S = P * (GV' * M - rowsum(P * GV' * M)) is that of QK'."""
    width, _, heads, size = ctx.shape
    grad = grad.view(width, heads, size)
    result = torch.empty(ctx.shape, dtype=ctx.dtype)
    result[ctx.groups[-1].end :] = 0
    for group, ((q, k, v), weights, kept) in zip(ctx.groups, ctx.saved, strict=True):
        shape = (group.rows, group.length, heads, size)
        outer = grad[group.start : group.end].view(shape).transpose(1, 2).float().reshape(-1, group.length, size)
        multiplier = factor(kept, ctx.scale, weights.dtype)
        inner = torch.empty(3, *q.shape)
        torch.bmm((multiplier * weights).transpose(1, 2), outer, out=inner[2])
        slope = torch.bmm(outer, v.transpose(1, 2)).mul_(multiplier)
        slope = torch.ops.aten._softmax_backward_data(slope, weights, -1, weights.dtype).mul_(size**-0.5)
        torch.bmm(slope, k, out=inner[0])
        torch.bmm(slope.transpose(1, 2), q, out=inner[1])
        result[group.start : group.end].view(group.rows, group.length, 3, heads, size).permute(2, 0, 3, 1, 4).copy_(
            inner.view(3, group.rows, heads, group.length, size)
        )
    return result


def _heads_first(qkv: Tensor, group: Group) -> Tensor:
    """A group's queries, keys and values in float32, shape (3, rows * heads, length, size)."""
    _, _, heads, size = qkv.shape
    part = qkv[group.start : group.end].view(group.rows, group.length, 3, heads, size).permute(2, 0, 3, 1, 4)
    return part.float().reshape(3, group.rows * heads, group.length, size)
