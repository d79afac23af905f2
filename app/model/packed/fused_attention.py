"""Self-attention within each row of a chunk by PyTorch's fused kernel, one call per length. Any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from app.model.packed.dropout import Dropout
from app.model.packed.layout import Layout


def attend_fused(qkv: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None) -> Tensor:
    """Context of every token, shape (width, heads * size), from `qkv` of shape (width, 3, heads, size).

    A `window` lets a token see that many neighbours on either side. Nothing is dropped, whatever the `share`. Computed
    in float32 whatever the precision of `qkv`: PyTorch's CPU kernels are slower in bfloat16.
    """
    _, _, heads, size = qkv.shape
    contexts = []
    for group, part in zip(layout.groups, _split(qkv.float(), layout), strict=True):
        q, k, v = part.view(group.rows, group.length, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)
        mask = window_mask(group.length, window, qkv.device)
        context = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        contexts.append(context.transpose(1, 2).reshape(-1, heads * size))
    contexts.append(contexts[0].new_zeros(layout.width - layout.tokens, heads * size))
    return torch.cat(contexts).to(qkv.dtype)


def window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """0 where two tokens see each other, else minus infinity: shape (length, length). None where all do."""
    if window is None or length <= window + 1:
        return None
    place = torch.arange(length, device=device)
    far = (place[:, None] - place[None, :]).abs() > window
    return torch.zeros(length, length, device=device).masked_fill_(far, -torch.inf)


def _split(packed: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    """The tokens of each group. One split: its gradient is one concatenation, where slices would each fill zeros."""
    sizes = [group.end - group.start for group in layout.groups]
    return torch.split(packed, [*sizes, layout.width - layout.tokens])[:-1]
