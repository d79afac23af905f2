"""Older names and positions of arguments: accepted with one line in the log, and the new name wins."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., Any])
logger = logging.getLogger(__name__)

INIT_RENAMES = {
    "model_name": "model_name_or_path",
    "automodel_args": "model_kwargs",
    "tokenizer_args": "processor_kwargs",
    "tokenizer_kwargs": "processor_kwargs",
    "config_args": "config_kwargs",
    "cache_dir": "cache_folder",
    "default_activation_function": "activation_fn",
}
INIT_POSITIONS = ("num_labels", "max_length", "activation_fn", "device")
"""What once could follow the model's name by position."""
OLDEST_POSITIONS = ("num_labels", "max_length", "device", "tokenizer_args", "automodel_args", "activation_fn")
"""The same in the releases before 3: there a device stood in third place."""
PREDICT_RENAMES = {"sentences": "inputs", "activation_fct": "activation_fn"}
PREDICT_IGNORED = ("num_workers",)
PREDICT_POSITIONS = (
    *("batch_size", "show_progress_bar", "num_workers", "activation_fct", "apply_softmax"),
    *("convert_to_numpy", "convert_to_tensor"),
)
"""What followed the inputs by position in the releases before 5."""
RANK_IGNORED = ("num_workers", "apply_softmax", "convert_to_numpy", "convert_to_tensor")


@functools.cache
def warn_once(message: str) -> None:
    """Logs a warning the first time that `message` occurs in this process."""
    logger.warning(message)


def legacy_init(init: Function) -> Function:
    """Accepts the constructor calls of releases before 5.4: other keywords, more positions, `classifier_dropout`."""

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        positions = _positions(args[1:])
        if len(args) > 1 + len(positions):
            raise TypeError(f"CrossEncoder takes at most {1 + len(positions)} positional arguments")
        old: dict[str, str] = {}
        for name, value in zip(positions, args[1:], strict=False):
            old[f"{name} by position"] = f"{name}=..."
            kwargs.setdefault(name, value)
        kwargs = _renamed(kwargs, INIT_RENAMES, old)
        if "classifier_dropout" in kwargs:
            old["classifier_dropout"] = "config_kwargs={'classifier_dropout': ...}"
            dropout = {"classifier_dropout": kwargs.pop("classifier_dropout")}
            kwargs["config_kwargs"] = {**dropout, **(kwargs.get("config_kwargs") or {})}
        _report("CrossEncoder", old)
        init(self, *args[:1], **kwargs)

    return cast(Function, wrapper)


def _positions(values: Sequence[Any]) -> tuple[str, ...]:
    """Which order of old the `values` behind the name are in.

    A device is known by its type, an activation is none; where neither is given, a dictionary follows in the oldest.
    """
    oldest = len(values) > 2 and isinstance(values[2], str | torch.device)
    oldest = oldest or (len(values) > 3 and isinstance(values[3], Mapping))
    return OLDEST_POSITIONS if oldest else INIT_POSITIONS


def legacy_call(
    renames: Mapping[str, str], ignored: tuple[str, ...], positions: tuple[str, ...] = ()
) -> Callable[[Function], Function]:
    """Accepts a method's `renames` of keywords, and drops the `ignored` ones, which have no meaning any more.

    `positions` once followed the inputs, a number first, where there is none now.
    """

    def decorate(method: Function) -> Function:
        @functools.wraps(method)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            old: dict[str, str] = {}
            if positions and len(args) > 1 and isinstance(args[1], int):
                kwargs |= dict(zip(positions, args[1:], strict=False))
                old |= {f"{name} by position": f"{renames.get(name, name)}=..." for name in positions[: len(args) - 1]}
                args = args[:1]
            kwargs = _renamed(kwargs, renames, old)
            for name in ignored:
                if name in kwargs:
                    del kwargs[name]
                    old[name] = "nothing, it has no effect"
            _report(f"CrossEncoder.{method.__name__}", old)
            return method(self, *args, **kwargs)

        return cast(Function, wrapper)

    return decorate


def _renamed(kwargs: dict[str, Any], renames: Mapping[str, str], old: dict[str, str]) -> dict[str, Any]:
    """`kwargs` under their new names; what was renamed is noted in `old`."""
    current = {name: value for name, value in kwargs.items() if name not in renames}
    for name, value in kwargs.items():
        if name in renames:
            current.setdefault(renames[name], value)
            old[name] = renames[name]
    return current


def _report(where: str, old: Mapping[str, str]) -> None:
    if old:
        changes = ", ".join(f"{name} -> {new}" for name, new in old.items())
        warn_once(f"{where}: deprecated arguments were used, please write instead: {changes}")
