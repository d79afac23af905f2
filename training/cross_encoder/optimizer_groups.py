"""Which parameters are trained, with which learning rate and weight decay."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

Group = dict[str, Any]
TORCH_LOSSES = "torch.nn.modules.loss"
"""Where losses are defined whose buffers are weights that a script gives."""


def trained_module(losses: nn.Module | Mapping[str, nn.Module], model: nn.Module) -> nn.Module:
    """A module of everything that is trained: the losses, which hold the model, with parameters of their own.

    The model joins them by itself where no loss holds it.
    """
    module = losses if isinstance(losses, nn.Module) else named_modules(losses)
    held = set(map(id, module.parameters()))
    if all(id(parameter) in held for parameter in model.parameters()):
        return module
    return named_modules({"loss": module, "model": model})


def named_modules(modules: Mapping[str, nn.Module]) -> nn.Module:
    """One module of several; a dot, which module names must not have, becomes an underscore."""
    together = nn.Module()
    for name, module in modules.items():
        together.add_module(name.replace(".", "_"), module)
    return together


def parameter_groups(
    module: nn.Module, decaying: Collection[str], weight_decay: float, rates: Mapping[str, float]
) -> list[Group]:
    """Optimizer groups: what no pattern of `rates` matches, then each pattern's parameters with its learning rate.

    Each is split into parameters with and without decay. Of several patterns that match, the last one holds.
    A pattern that matches nothing here is tried on the names of sentence-transformers, where the transformer is module
    0 of the model. Raises ValueError if it matches nothing there either.
    """
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    chosen: dict[str, str | None] = dict.fromkeys(named)
    for pattern in rates:
        names = [name for name, _ in module.named_parameters()]
        matches = [name for name in names if re.search(pattern, name)]
        matches = matches or [name for name in names if re.search(pattern, their_name(name))]
        if not matches:
            raise ValueError(
                f"learning_rate_mapping: no parameters found matching the pattern {pattern!r}; "
                "list the names with model.named_parameters()"
            )
        chosen.update((name, pattern) for name in matches if name in named)
    groups: list[Group] = []
    for pattern_or_none in (None, *rates):
        names = [name for name in named if chosen[name] == pattern_or_none]
        rate = {} if pattern_or_none is None else {"lr": rates[pattern_or_none]}
        for decay, chooses in ((weight_decay, True), (0.0, False)):
            parameters = [named[name] for name in names if (name in decaying) is chooses]
            if parameters or pattern_or_none is None:
                groups.append({"params": parameters, **rate, "weight_decay": decay})
    return groups


def their_name(name: str) -> str:
    """A parameter's name in sentence-transformers: "model.0.model.x" for the "model.model.x" of a loss here."""
    return re.sub(r"\bmodel\.model\.", "model.0.model.", name, count=1)


def own_parameters(losses: nn.Module | Mapping[str, nn.Module], model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that belong to losses and not to the model, by name."""
    module = losses if isinstance(losses, nn.Module) else named_modules(losses)
    of_model = set(map(id, model.parameters()))
    return {name: parameter for name, parameter in module.named_parameters() if id(parameter) not in of_model}


def own_buffers(losses: nn.Module | Mapping[str, nn.Module], model: nn.Module) -> dict[str, Tensor]:
    """The buffers that losses keep for later, by name: not the model's, nor the constants of PyTorch's losses."""
    module = losses if isinstance(losses, nn.Module) else named_modules(losses)
    of_model = set(map(id, model.modules()))
    found: dict[str, Tensor] = {}
    for name, part in module.named_modules():
        if id(part) in of_model or type(part).__module__.startswith(TORCH_LOSSES):
            continue
        kept = {key: one for key, one in part.named_buffers(recurse=False) if key in part.state_dict()}
        found |= {f"{name}.{key}" if name else key: one for key, one in kept.items()}
    return found
