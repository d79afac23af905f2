"""Self-attention within each row of a chunk by one call for all rows, each put into a padded grid. Any device.

For GPUs where the variable-length kernels do not run: float32, before Ampere, unusual heads. Everything else of the
network still runs without padding, and all shapes follow from the layout's, which CUDA graphs need.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from app.model.packed.dropout import Dropout
from app.model.packed.layout import Layout


def attend_in_grid(qkv: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None) -> Tensor:
    """As `attend_fused`, in the precision of `qkv`."""
    _, _, heads, size = qkv.shape
    column = torch.arange(layout.longest, device=qkv.device)
    inside = column < layout.counts[:, None]
    token = layout.first[:, None] + column * inside  # (rows, longest); what is outside repeats the first token
    q, k, v = qkv[token].permute(2, 0, 3, 1, 4).unbind(0)  # each (rows, heads, longest, size)
    context = functional.scaled_dot_product_attention(q, k, v, attn_mask=_mask(inside, column, window))
    owner = layout.owner.clamp(max=len(layout.ends) - 2)  # filling takes what is there
    place = layout.positions.clamp(max=layout.longest - 1)
    return context.transpose(1, 2)[owner, place].reshape(-1, heads * size)


def _mask(inside: Tensor, column: Tensor, window: int | None) -> Tensor:
    """Whom each token sees, shape (rows, 1, 1 or longest, longest). Nobody is blind: that would give no numbers."""
    seen = inside[:, None, None, :]
    if window is None or len(column) <= window + 1:
        return seen
    apart = (column[:, None] - column[None, :]).abs()
    near = apart <= window
    return (seen & near) | (apart == 0)
