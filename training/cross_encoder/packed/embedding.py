"""Entries of a large table on a CPU, of which the gradient lies in the same memory at every step.

A gradient is mostly zeros, but new memory for it, a page at a time, costs more than what is added up in it.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEAST_BYTES = 1 << 25
"""What the C library keeps for its next use where it is smaller."""


def look_up(module: nn.Module, ids: Tensor) -> Tensor:
    """What `module` makes of `ids`, shape (tokens,): entries of shape (tokens, hidden)."""
    return _Entries.apply(module.weight, module, ids) if _is_large(module) else module(ids)  # type: ignore[no-any-return, no-untyped-call]


def forget(model: nn.Module) -> None:
    """Gives back the memory that is kept for gradients of the tables of `model`."""
    for module in model.modules():
        _kept.pop(module, None)


def _is_large(module: nn.Module) -> bool:
    """Whether it is a plain table, looked up for a gradient that C's memory would be new for at every step."""
    if type(module) is not nn.Embedding or module._forward_hooks or module._forward_pre_hooks:
        return False
    plain = module.max_norm is None and not module.sparse and not module.scale_grad_by_freq
    weight = module.weight
    usual = type(weight) is nn.Parameter and weight.dtype == torch.float32 and weight.device.type == "cpu"
    return plain and usual and _needs_gradient(weight) and weight.nbytes >= LEAST_BYTES


def _needs_gradient(weight: Tensor) -> bool:
    return weight.requires_grad and torch.is_grad_enabled()


class _Entries(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, module: nn.Embedding, ids: Tensor) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(ids)
        return weight.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        from training.cross_encoder.packed.kernels import add_rows  # half a second, and only training needs it

        (ids,), module = ctx.saved_tensors, ctx.module
        table = _zeros(module)
        add_rows(grads[0].contiguous().numpy(), ids.numpy(), table.numpy())
        if module.padding_idx is not None:
            table[module.padding_idx] = 0
        return table, None, None


_kept: weakref.WeakKeyDictionary[nn.Module, tuple[Any, weakref.ref[Any]]] = weakref.WeakKeyDictionary()
"""The memory for the gradient of a table, and a reference to who has it at present."""


_lock = threading.Lock()


def _zeros(module: nn.Embedding) -> Tensor:
    """As many as the table has, in the memory of the last ones unless something still has those."""
    with _lock:
        memory, user = _kept.get(module, (None, None))
        if memory is None or user is None or user() is not None or memory.shape != module.weight.shape:
            memory = np.empty(module.weight.shape, np.float32)
        view = memory.view()  # lives as long as a tensor has its memory
        _kept[module] = memory, weakref.ref(view)
    return torch.from_numpy(view).zero_()
