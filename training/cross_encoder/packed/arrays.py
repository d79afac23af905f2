"""Tensors on a CPU as the compiled loops take them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def array(value: Tensor) -> Any:
    """The memory of a tensor. NumPy has no bfloat16: int16 holds its bits."""
    value = value.detach()
    return (value.view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy()


def computable(dtype: torch.dtype) -> torch.dtype:
    """The precision itself where the loops know it, else float32."""
    return dtype if dtype in (torch.float32, torch.float64, torch.bfloat16) else torch.float32
