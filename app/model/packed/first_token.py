"""Attention of each row's first token alone, which is all that most heads read of the last layer. Any device."""

from __future__ import annotations

import torch
from torch import Tensor

from app.model.packed.dropout import Dropout
from app.model.packed.layout import Layout


def attend_first(
    query: Tensor, keys_values: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None
) -> Tensor:
    """Context of each row's first token, shape (first tokens, heads * size), computed in float32.

    `query`: shape (first tokens, heads, size); `keys_values`: shape (width, 2, heads, size). `share` of the attention
    weights are dropped. With a `window` the token sees that many neighbours.
    """
    count, heads, size = query.shape
    longest = layout.longest if window is None else min(layout.longest, window + 1)
    column = torch.arange(longest, device=query.device)
    inside = column < layout.counts[:, None]
    places = layout.first[:, None] + column * inside  # never into the filling, which may hold anything
    keys, values = keys_values.index_select(0, places.flatten()).view(count, longest, 2, heads, size).float().unbind(2)
    scores = (query.float()[:, None] * keys).sum(-1) * size**-0.5  # (first tokens, longest, heads)
    weights = dropout(scores.masked_fill(~inside[..., None], -torch.inf).softmax(1), share)
    return (weights[..., None] * values).sum(1).flatten(1).to(query.dtype)
