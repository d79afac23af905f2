"""How the trainer holds losses and calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging

from training.cross_encoder.losses.base import unwrapped

logger = logging.get_logger(__name__)

Loss = nn.Module | Callable[[Any], nn.Module]
BOUND = ("preprocess", "tokenizer", "num_labels", "max_length", "max_seq_length")
"""What custom losses use of the model beside calling it; wrappers for distributed training do not pass it on."""


def prepared(loss: Loss, model: Any) -> nn.Module:
    """The loss on the model's device; one that was given as a function of the model is made."""
    made = loss if isinstance(loss, nn.Module) else loss(model)
    return made.to(model.device)


def check_loss_names(losses: Mapping[str, Any], dataset: Any, kind: str) -> None:
    """Raises ValueError unless each dataset of a dictionary has its loss."""
    if dataset is None:
        return
    if not isinstance(dataset, Mapping):
        raise ValueError(f"If the provided `loss` is a dict, then the `{kind}_dataset` must be a `DatasetDict`.")
    if missing := sorted(set(dataset) - set(losses)):
        verb = "occurs" if len(missing) == 1 else "occur"
        raise ValueError(
            f"If the provided `loss` is a dict, then all keys from the `{kind}_dataset` dictionary must occur in "
            f"`loss` also. Currently, {missing} {verb} in `{kind}_dataset` but not in `loss`."
        )


def set_model(loss: nn.Module, model: Any, model_class: type[Any]) -> None:
    """Makes `loss`, and the losses inside it, call `model`, which may be a wrapper of the one that they hold."""
    for name, child in loss.named_children():
        inner = unwrapped(child)
        if name == "model" and isinstance(inner, model_class):
            for attribute in BOUND:
                if hasattr(inner, attribute) and not hasattr(model, attribute):
                    setattr(model, attribute, getattr(inner, attribute))
            loss.model = model
        elif not isinstance(inner, model_class):
            set_model(child, model, model_class)


class LossCaller:
    """Calls losses with what their `forward` takes: its signature is read once, and no error is mistaken for it."""

    def __init__(self) -> None:
        self._accepted: dict[int, frozenset[str]] = {}

    def __call__(self, loss: nn.Module, inputs: list[Any], labels: Any, **options: str | None) -> Any:
        """The loss of `inputs` and `labels`; `options` (prompt, task) as far as it knows them."""
        accepted = self._accepted.get(id(loss))
        if accepted is None:
            accepted = self._accepted[id(loss)] = accepted_options(loss, frozenset(options))
        if ignored := sorted(name for name, value in options.items() if value and name not in accepted):
            logger.warning_once(
                f"{type(loss).__name__} takes no {' or '.join(ignored)}: add it to the keyword arguments of its "
                "forward, or nothing of it reaches the model."
            )
        return loss(inputs, labels, **{name: value for name, value in options.items() if name in accepted})


def accepted_options(loss: nn.Module, names: frozenset[str]) -> frozenset[str]:
    """Those of the keyword arguments `names` that the loss takes."""
    try:
        parameters = inspect.signature(loss.forward).parameters.values()
    except (TypeError, ValueError):  # no signature to be had: the plain protocol
        return frozenset()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return names
    keywords = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return names & {parameter.name for parameter in parameters if parameter.kind in keywords}


class Components:
    """Means of the parts of losses that return several, since the last log."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, loss: Mapping[str, Tensor], filter_nan: bool) -> None:
        """One step's parts; with `filter_nan`, one that is not finite counts as the mean so far."""
        for name, part in loss.items():
            value = part.detach().float()
            total = self._sums.get(name, torch.zeros_like(value))
            if filter_nan:  # no `if` on the value: that would wait for the device
                value = torch.where(torch.isfinite(value), value, total / max(self._steps, 1))
            self._sums[name] = total + value
        self._steps += 1

    def drain(self, gather: Callable[[list[Any]], list[Any]]) -> dict[str, float]:
        """Their means over all processes, which may have seen different parts; the next log begins anew."""
        own = ({name: float(total.sum()) for name, total in self._sums.items()}, self._steps)
        self._sums, self._steps = {}, 0
        sums: dict[str, float] = {}
        steps = 0
        for found, count in gather([own]):
            steps += count
            for name, total in found.items():
                sums[name] = sums.get(name, 0.0) + total
        return {name: round(total / steps, 4) for name, total in sums.items()} if steps else {}
