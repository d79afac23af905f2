"""Self-attention within each row of a chunk on a GPU, by the variable-length kernels of PyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.model.packed.dropout import Dropout
from app.model.packed.layout import Layout

OLDEST = (8, 0)
"""Compute capability from which the kernels run (Ampere)."""
LARGEST_HEAD = 256


def runs_on_gpu(model: nn.Module, dtype: torch.dtype) -> bool:
    """Whether PyTorch's variable-length kernels take what `model` asks of them in `dtype`.

    They want half precision. Dropout under a sliding window is in none of them.
    """
    device, config = next(model.parameters()).device, _config(model)
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    size = config.hidden_size // config.num_attention_heads
    windowed = "sliding_attention" in (getattr(config, "layer_types", None) or [])
    dropped = model.training and getattr(config, "attention_dropout", 0.0) > 0
    fits = size % 8 == 0 and size <= LARGEST_HEAD and torch.cuda.get_device_capability(device) >= OLDEST
    fits = fits and find_spec("torch.nn.attention.varlen") is not None
    return fits and not (windowed and dropped)


def attend_on_gpu(qkv: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None = None) -> Tensor:
    """As `attend_fused`, in the precision of `qkv`; dropout is the kernel's own."""
    width, _, heads, size = qkv.shape
    used = qkv[: layout.tokens]
    if share > 0:
        context = _nested(used, layout.ends[: len(layout.lengths) + 1].long(), layout.longest, share)
    else:
        context = _variable_length(used, layout.ends, layout.longest, window)
    context = context.reshape(-1, heads * size)
    return functional.pad(context, (0, 0, 0, width - layout.tokens)) if width > layout.tokens else context


def _variable_length(qkv: Tensor, ends: Tensor, longest: int, window: int | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    span = (-1, -1) if window is None else (window, window)
    q, k, v = (part.contiguous() for part in qkv.unbind(1))
    context: Any = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=span)
    return torch.as_tensor(context)


def _nested(qkv: Tensor, ends: Tensor, longest: int, share: float) -> Tensor:
    """By nested tensors, whose attention has dropout."""
    q, k, v = (
        torch.nested.nested_tensor_from_jagged(part.contiguous(), ends, min_seqlen=1, max_seqlen=longest)
        for part in qkv.unbind(1)
    )
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (rows, heads, length, size)
    return functional.scaled_dot_product_attention(q, k, v, dropout_p=share).transpose(1, 2).values()


def _config(model: nn.Module) -> Any:
    return model.config
