"""Parts of a pass side by side on a CPU, each on one core, with and without gradients."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.model.packed.cores import core_threads, on_cores

Run = Callable[[Tensor], Tensor]
Item = TypeVar("Item")
AHEAD = 2
"""Items per core that are computed before the first of them is asked for."""


def each_on_a_core(work: Callable[[Item], Tensor], items: Iterable[Item]) -> Iterator[Tensor]:
    """`work(item)` in order, without gradients, of a few items ahead of what the caller has taken."""
    cores, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    waiting: deque[Future[Tensor]] = deque()
    try:
        for item in items:
            waiting.append(core_threads(os.getpid(), cores).submit(_without_gradient, work, item, inference))
            if len(waiting) > AHEAD * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for one in waiting:
            one.cancel()


def _without_gradient(work: Callable[[Item], Tensor], item: Item, inference: bool) -> Tensor:
    with torch.inference_mode(inference), torch.no_grad():  # the modes are each thread's own
        return work(item)


def side_by_side(runs: Sequence[Run], inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """`torch.cat` of `run(input)` for all `runs`, with gradients of the `inputs` and of `parameters`.

    Each run, and its gradient, is computed in a thread of its own; what they give does not depend on which is faster,
    provided that none of them draws from PyTorch's generator. At most as many runs as PyTorch has threads.
    """
    result: Tensor = _SideBySide.apply(runs, len(inputs), *inputs, *parameters)  # type: ignore[no-untyped-call]
    return result


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, runs: Sequence[Run], count: int, *tensors: Tensor) -> Tensor:
        ctx.inputs = [one.detach().requires_grad_(one.requires_grad) for one in tensors[:count]]
        ctx.parameters = tensors[count:]
        ctx.results = on_cores(_compute, runs, ctx.inputs)
        ctx.sizes = list(map(len, ctx.results))
        return torch.cat([one.detach() for one in ctx.results])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.results is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: what that needs was freed; specify "
                "retain_graph=True"
            )
        results, keep = ctx.results, _keeps_graph()
        if not keep:
            ctx.results = None
        sources = [(one, *ctx.parameters) for one in ctx.inputs]
        work = partial(_gradients, keep=keep)
        found = on_cores(work, results, sources, torch.split(grads[0], ctx.sizes))
        return None, None, *(own[0] for own in found), *map(_sum, zip(*(own[1:] for own in found), strict=True))


def _compute(run: Run, value: Tensor) -> Tensor:
    with torch.enable_grad():
        return run(value)


def _keeps_graph() -> bool:
    """Whether the backward pass that runs was asked for `retain_graph`; PyTorch's own checkpoints ask like this."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return asked is not None and bool(asked())


def _gradients(result: Tensor, sources: Sequence[Tensor], grad: Tensor, *, keep: bool) -> list[Tensor | None]:
    """The gradient of each of `sources`, None where it wants none; none shares its memory with another."""
    wanted = [one for one in sources if one.requires_grad]
    found = torch.autograd.grad(result, wanted, grad, allow_unused=True, retain_graph=keep)
    uses = Counter(one.data_ptr() for one in found if one is not None)
    own = iter([one if one is None or uses[one.data_ptr()] == 1 else one.clone() for one in found])
    return [next(own) if one.requires_grad else None for one in sources]


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    if not there:
        return None
    total = there[0] if there[0]._base is None else there[0].clone()  # a view may be of one number for all
    for part in there[1:]:
        total = total.add_(part)
    return total
