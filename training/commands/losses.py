"""From the `[loss]` of a recipe to a loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from app.errors import ConfigError
from training.cross_encoder import losses
from training.cross_encoder.losses.base import CrossEncoderLoss
from training.recipe import Loss
from training.recipe_files import did_you_mean

LossFactory = Callable[[Any], nn.Module]
SCHEMES = {name for name in losses.__all__ if name.endswith("Scheme") and name != "BaseWeightingScheme"}
MODULES = {"weighting_scheme": SCHEMES, "lambda_weight": {"PListMLELambdaWeight"}}
"""Options that are objects of the losses' own, with the classes that they can have."""
TORCH = {
    "BinaryCrossEntropyLoss": nn.BCEWithLogitsLoss,
    "CrossEntropyLoss": nn.CrossEntropyLoss,
    "MSELoss": nn.MSELoss,
    "MarginMSELoss": nn.MSELoss,
}
"""Losses that hand further options to one of PyTorch's."""
OLD = {"size_average", "reduce"}
"""Options that PyTorch itself has given up."""
TENSORS = {"pos_weight", "weight"}


def loss_class(options: Loss | None, num_labels: int) -> type[CrossEncoderLoss]:
    """The class that a recipe asks for, or the default for a model of `num_labels`."""
    default = "BinaryCrossEntropyLoss" if num_labels == 1 else "CrossEntropyLoss"
    found: type[CrossEncoderLoss] = getattr(losses, default if options is None else options.name)
    return found


def loss_factory(options: Loss | None, num_labels: int) -> LossFactory:
    """A function of the model that makes the loss. Raises ConfigError for options that the loss does not have."""
    cls = loss_class(options, num_labels)
    given = {} if options is None else options.options
    known = set(inspect.signature(cls).parameters) - {"model", "kwargs"}
    if cls.__name__ in TORCH:
        known |= set(inspect.signature(TORCH[cls.__name__]).parameters) - OLD
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"[loss]: {cls.__name__} has no option {name!r}{hint}; it has {', '.join(sorted(known))}")
    if given.get("reduction") == "none":
        raise ConfigError(
            "[loss]: reduction 'none' gives a number per row, and training needs one; take 'mean' or 'sum'"
        )
    arguments = {name: option(name, value) for name, value in given.items()}

    def make(model: Any) -> nn.Module:
        try:
            return cls(model, **arguments)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"[loss]: {error}") from error

    return make


def option(name: str, value: Any) -> Any:
    """A TOML value as the loss takes it: names become activations and schemes, "none" becomes None."""
    if value == "none":
        return None
    if name == "activation_fn":
        return _made(name, value, nn, {one for one in dir(nn) if inspect.isclass(getattr(nn, one))})
    if name in MODULES:
        return _made(name, value, losses, MODULES[name])
    return torch.tensor(value) if name in TENSORS and isinstance(value, list) else value


def _made(name: str, value: Any, module: Any, known: set[str]) -> Any:
    options = dict(value) if isinstance(value, dict) else {"name": value}
    wanted = str(options.pop("name", ""))
    if wanted not in known:
        raise ConfigError(f"[loss]: {name} {wanted!r} is unknown{did_you_mean(wanted, known)}; correct the name")
    try:
        return getattr(module, wanted)(**options)
    except TypeError as error:
        raise ConfigError(f"[loss]: {name} {wanted!r}: {error}; correct its options") from error
