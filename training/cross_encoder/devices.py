"""The device that a model goes to when nobody says otherwise."""

from __future__ import annotations

import os

import torch


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
