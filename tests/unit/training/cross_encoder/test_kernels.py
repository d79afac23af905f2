"""The compiled loops: what they compute, and where nothing can be kept on disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from training.cross_encoder.packed.dropout import Mask
from training.cross_encoder.packed.kernels import compiled, softmax_gradient

KEY = (np.uint32(7), np.uint32(9))


def test_gradient_of_a_dropped_softmax() -> None:
    """That of autograd, for weights of exactly zero too."""
    torch.manual_seed(0)
    logits = torch.randn(6, 5)
    logits[0, 1] = -torch.inf
    logits.requires_grad_()
    outer, mask = torch.randn(6, 5), Mask(KEY, np.uint32(1 << 30), np.float32(4 / 3))
    factors = mask.drop(torch.ones(6, 5))
    weights = logits.softmax(-1)
    (expected,) = torch.autograd.grad((weights * factors * outer).sum(), logits)
    slope = outer.clone()
    arrays = (weights.detach(), mask.drop(weights.detach()), slope)
    softmax_gradient(*(one.view(-1).numpy() for one in arrays), 5, mask.scale, np.float32(0.5))
    torch.testing.assert_close(slope, expected.nan_to_num() * 0.5, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_read_and_rounded_as_pytorch_does() -> None:
    """Every bit pattern widened exactly; float32 rounded to the nearest, of two to the even one, NaN kept one."""
    keep = Mask(KEY, np.uint32(0), np.float32(1))
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    torch.testing.assert_close(keep.drop(every, torch.float32), every.float(), rtol=0, atol=0, equal_nan=True)
    torch.manual_seed(0)
    middle = (every.float().view(torch.int32) + (1 << 15)).view(torch.float32)  # halfway to the next
    for value in (torch.randn(10_000), middle, torch.tensor([3.4e38, -3.4e38, torch.inf, -0.0])):
        found = keep.drop(value, torch.bfloat16)
        torch.testing.assert_close(found, value.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)
    residual = torch.randn(1 << 16)
    expected = residual + every.float()
    torch.testing.assert_close(keep.drop_add(every, residual), expected, rtol=0, atol=0, equal_nan=True)


def test_a_loop_that_cannot_be_kept_on_disk_still_runs() -> None:
    """As in a container whose file system is read-only: here, a function that no file holds."""
    space: dict[str, Any] = {}
    exec("def add(values, number):\n    for i in range(len(values)):\n        values[i] += number", space)
    values = np.zeros(3)
    compiled(space["add"])(values, 2.0)
    assert values.tolist() == [2, 2, 2]
