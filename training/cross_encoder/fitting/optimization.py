"""Optimizer and learning rate schedule as the older interface describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers.optimization import (
    get_constant_schedule,
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

NO_DECAY = ("bias", "LayerNorm.bias", "LayerNorm.weight")

SCHEDULES: dict[str, Callable[[Optimizer, int, int], Any]] = {
    "constantlr": lambda optimizer, warmup, steps: get_constant_schedule(optimizer),
    "warmupconstant": lambda optimizer, warmup, steps: get_constant_schedule_with_warmup(optimizer, warmup),
    "warmuplinear": get_linear_schedule_with_warmup,
    "warmupcosine": get_cosine_schedule_with_warmup,
    "warmupcosinewithhardrestarts": get_cosine_with_hard_restarts_schedule_with_warmup,
}


def check_scheduler(scheduler: Any) -> None:
    """ValueError for a name that is no schedule, before anything is trained."""
    if isinstance(scheduler, str) and scheduler.lower() not in SCHEDULES:
        raise ValueError(f"Unknown scheduler {scheduler!r}: take one of {', '.join(SCHEDULES)}, or a scheduler object")


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the parameters that train: those with weight decay, and biases and norms without."""
    norms = {
        id(parameter)
        for part in module.modules()
        if type(part).__name__.endswith("Norm")
        for parameter in part.parameters(recurse=False)
    }
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[id(parameter) in norms or any(part in name for part in NO_DECAY)].append(parameter)
    return [{"params": groups[0], "weight_decay": weight_decay}, {"params": groups[1], "weight_decay": 0.0}]


def make_optimizer(
    module: nn.Module,
    scheduler: Any,
    optimizer_class: Callable[..., Optimizer],
    optimizer_params: Mapping[str, Any],
    weight_decay: float,
) -> Optimizer:
    """The optimizer that trains `module`.

    A scheduler object brings its own, which it steers; ValueError if that one does not train the module.
    """
    own = None if isinstance(scheduler, str) else getattr(scheduler, "optimizer", None)
    if own is None:
        return optimizer_class(parameter_groups(module, weight_decay), **optimizer_params)
    trained = {id(parameter) for group in own.param_groups for parameter in group["params"]}
    if not any(id(parameter) in trained for parameter in module.parameters()):
        raise ValueError(
            "the scheduler belongs to an optimizer that holds no parameter of this model: build that optimizer from "
            "model.parameters(), or pass the name of a schedule or a function of the optimizer"
        )
    return own  # type: ignore[no-any-return]


def make_schedule(scheduler: Any, optimizer: Optimizer, warmup_steps: int, steps: int) -> Any:
    """The schedule over `steps` optimizer steps.

    `scheduler` is a name (upper or lower case), a function that makes a schedule for an optimizer, or a schedule.
    """
    if isinstance(scheduler, str):
        return SCHEDULES[scheduler.lower()](optimizer, warmup_steps, steps)
    return scheduler(optimizer) if callable(scheduler) else scheduler
