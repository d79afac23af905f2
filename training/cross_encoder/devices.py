"""Where a model is, and the device that it goes to when nobody says otherwise."""

from __future__ import annotations

import os
from typing import cast

import torch
from torch import nn


def default_device() -> str:
    """The accelerator that PyTorch sees, that of this process under torchrun; else the CPU."""
    if torch.cuda.is_available():
        rank = os.environ.get("LOCAL_RANK")
        return "cuda" if rank is None else f"cuda:{int(rank) % torch.cuda.device_count()}"
    for name in ("mps", "npu", "hpu"):
        module = getattr(torch, name, None) if name != "mps" else torch.backends.mps
        if module is not None and module.is_available():
            return name
    return "cpu"


class Placed:
    """`device` and `dtype` of a module: those of its first weight."""

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        parameter = next(cast("nn.Module", self).parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def dtype(self) -> torch.dtype | None:
        """Type of the weights."""
        parameter = next(cast("nn.Module", self).parameters(), None)
        return None if parameter is None else parameter.dtype
