"""Gradients of many rows in the memory of few: their activations are computed again when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Run = Callable[[Any], Tensor]


def cached_scores(run: Run, parts: Sequence[Any], model: nn.Module) -> Tensor:
    """`torch.cat` of `run(part)` for all `parts`, holding the activations of one part at a time.

    `run` may draw random numbers from PyTorch's generators only; the second run draws the same ones. The gradient
    reaches the parameters of `model` in one piece, so what waits for it (DistributedDataParallel) waits once.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    scores: Tensor = _Cached.apply(run, parts, *parameters)  # type: ignore[no-untyped-call]
    return scores


class _Cached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, parts: Sequence[Any], *parameters: Tensor) -> Tensor:
        ctx.run, ctx.parts = run, parts
        ctx.save_for_backward(*parameters)
        ctx.device = parameters[0].device
        ctx.autocast = _Autocast(ctx.device.type)
        ctx.random, scores = [], []
        for part in parts:
            ctx.random.append(_random_state(ctx.device))
            scores.append(run(part))
        ctx.sizes = list(map(len, scores))
        return torch.cat(scores)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        parameters = ctx.saved_tensors
        total: list[Tensor | None] = [None] * len(parameters)
        pieces = zip(ctx.parts, ctx.random, torch.split(grads[0], ctx.sizes), strict=True)
        with _restored_after(ctx.device), torch.enable_grad():
            for part, state, grad in pieces:
                _set_random_state(ctx.device, state)
                with ctx.autocast.again():
                    scores = ctx.run(part)
                found = torch.autograd.grad(scores, parameters, grad, allow_unused=True)
                total = [_sum(old, new) for old, new in zip(total, found, strict=True)]
        return None, None, *total


def _sum(total: Tensor | None, new: Tensor | None) -> Tensor | None:
    if total is None or new is None:
        return total if new is None else new.clone()  # a gradient may share its memory with others
    return total.add_(new)


class _Autocast:
    """The precision that is set for a device type, to be set again."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._enabled = torch.is_autocast_enabled(kind)
        self._dtype = torch.get_autocast_dtype(kind)

    def again(self) -> torch.autocast:
        return torch.autocast(self._kind, dtype=self._dtype, enabled=self._enabled)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The state of the CPU's generator, and of the device's if that is another."""
    own = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
    return torch.get_rng_state(), own


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.get_device_module(device).set_rng_state(state[1], device)


@contextmanager
def _restored_after(device: torch.device) -> Iterator[None]:
    state = _random_state(device)
    try:
        yield
    finally:
        _set_random_state(device, state)
