"""Attention of each row's first token alone, which is all that most heads read of the last layer. Any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from app.model.packed.dropout import Dropout
from app.model.packed.layout import Layout


def attend_first(
    query: Tensor, keys_values: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None
) -> Tensor:
    """Context of each row's first token, shape (first tokens, heads * size), computed in float32.

    `query`: shape (first tokens, heads, size); `keys_values`: shape (width, 2, heads, size). `share` of the attention
    weights are dropped. With a `window` the token sees that many neighbours.
    """
    seen, inside = _seen(keys_values, layout, window)
    keys, values = seen.unbind(2)
    scores = (query.float()[:, None] * keys).sum(-1)  # (first tokens, longest, heads)
    weights = _weights(scores, query.shape[-1], inside, share, dropout)
    return (weights[..., None] * values).sum(1).flatten(1).to(query.dtype)


def attend_first_to_states(
    query: Tensor, states: Tensor, key: nn.Linear, value: nn.Linear, layout: Layout, share: float, dropout: Dropout
) -> Tensor:
    """The same without keys and values, which only one query in a row would ask for: of `states` (width, hidden).

    The product of a query q with a key Wx + b is (W'q)x + bq. The sum of values Wx + b under weights p is
    W(sum of px) + (sum of p)b.
    """
    _, heads, size = query.shape
    seen, inside = _seen(states, layout)
    by_head = key.weight.float().view(heads, size, -1)
    asked = torch.bmm(query.float().transpose(0, 1), by_head)  # (heads, first tokens, hidden)
    scores = torch.bmm(seen, asked.permute(1, 2, 0))  # (first tokens, longest, heads)
    if key.bias is not None:
        # The same for all tokens, so softmax does not see it; but a parameter without a gradient stops DDP.
        scores = scores + (query.float() * key.bias.float().view(heads, size)).sum(-1)[:, None]
    weights = _weights(scores, size, inside, share, dropout)
    mixed = torch.bmm(weights.transpose(1, 2), seen)  # (first tokens, heads, hidden)
    context = torch.bmm(mixed.transpose(0, 1), value.weight.float().view(heads, size, -1).transpose(1, 2))
    context = context.transpose(0, 1)
    if value.bias is not None:
        context = context + weights.sum(1)[..., None] * value.bias.float().view(heads, size)
    return context.flatten(1).to(query.dtype)


def _seen(values: Tensor, layout: Layout, window: int | None = None) -> tuple[Tensor, Tensor]:
    """What each row's first token sees of `values` (width, any), padded: (first tokens, longest, any), float32.

    And where in that there are tokens: (first tokens, longest).
    """
    longest = layout.longest if window is None else min(layout.longest, window + 1)
    column = torch.arange(longest, device=values.device)
    inside = column < layout.counts[:, None]
    places = layout.first[:, None] + column * inside  # never into the filling, which may hold anything
    return values.index_select(0, places.flatten()).view(*places.shape, *values.shape[1:]).float(), inside


def _weights(scores: Tensor, size: int, inside: Tensor, share: float, dropout: Dropout) -> Tensor:
    """Attention weights, shape (first tokens, longest, heads), as `scores`."""
    scaled = (scores * size**-0.5).masked_fill(~inside[..., None], -torch.inf)
    return dropout(scaled.softmax(1), share)
