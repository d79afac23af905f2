"""Attention by products of our own beside attention by PyTorch's, under the same dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from app.model.packed.layout import Layout, Multiples, lay_out
from training.cross_encoder.packed.cpu_attention import attend
from training.cross_encoder.packed.dropout import Dropout
from training.cross_encoder.packed.tiled_attention import attend_tiled

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_core")
LENGTHS = [1, 2, 5, 6, 7, 31, 32, 32, 33, 97]


def layout_of(lengths: list[int], filling: int = 1) -> Layout:
    ids = np.zeros(sum(lengths), np.int64)
    return lay_out(ids, ids, lengths, multiples=Multiples(tokens=filling), device=CPU)


def run(attention: Callable[..., torch.Tensor], qkv: torch.Tensor, *options: Any) -> list[torch.Tensor]:
    """The context and the gradient of `qkv`."""
    torch.manual_seed(1)
    qkv = qkv.clone().requires_grad_()
    context = attention(qkv, *options[:2], Dropout(CPU), *options[2:])
    slope = torch.linspace(-1, 1, context.numel()).reshape(context.shape).to(context.dtype)
    return [context, *torch.autograd.grad(context, qkv, slope)]


@pytest.mark.parametrize("size", [8, 32, 40, 64])
@pytest.mark.parametrize("window", [None, 3, 40])
def test_context_and_gradient(size: int, window: int | None) -> None:
    """Rows of fewer tokens than a tile has, of as many, and of more; with filling behind them."""
    layout = layout_of(LENGTHS, filling=64)
    torch.manual_seed(0)
    qkv = 2 * torch.randn(layout.width, 3, 2, size)
    ours, plain = (run(one, qkv, layout, 0.1, window) for one in (attend_tiled, attend))
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)
    assert not ours[0][layout.tokens :].any()
    assert not ours[1][layout.tokens :].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_computed_in_float32(dtype: torch.dtype) -> None:
    layout = layout_of([9, 20])
    torch.manual_seed(0)
    qkv = torch.randn(layout.width, 3, 2, 32).to(dtype)
    ours, plain = (run(one, qkv, layout, 0.1) for one in (attend_tiled, attend))
    for found, expected in zip(ours, plain, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)


def test_large_logits_do_not_overflow() -> None:
    layout = layout_of([12])
    torch.manual_seed(0)
    qkv = 100 * torch.randn(layout.width, 3, 1, 32)
    ours, plain = (run(one, qkv, layout, 0.1) for one in (attend_tiled, attend))
    torch.testing.assert_close(ours[0], plain[0], rtol=1e-4, atol=1e-2)
    assert torch.isfinite(ours[1]).all()
