"""Which process this is, and tensors of all of them; without a process group there is one process."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather as all_gather_autograd

from training.util.environment import is_dist_initialized


def get_rank() -> int:
    """The number of this process in its group."""
    return distributed.get_rank() if is_dist_initialized() else 0


def get_world_size() -> int:
    """How many processes the group has."""
    return distributed.get_world_size() if is_dist_initialized() else 1


def all_gather(tensor: Tensor, with_grad: bool = False) -> Tensor:
    """The tensors of all processes, all of one shape, one below the other in the order of the ranks.

    Gradients flow into the own tensor; `with_grad` lets them flow back to every process.
    """
    if not is_dist_initialized():
        return tensor
    if with_grad:
        return torch.cat(all_gather_autograd(tensor))  # type: ignore[no-untyped-call]
    parts = [torch.empty_like(tensor) for _ in range(get_world_size())]
    distributed.all_gather(parts, tensor.detach().contiguous())
    parts[get_rank()] = tensor
    return torch.cat(parts)


def all_gather_with_grad(tensor: Tensor) -> Tensor:
    """`all_gather` with gradients for every process."""
    return all_gather(tensor, with_grad=True)
