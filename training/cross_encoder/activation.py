"""Activations as they stand in saved configurations: dotted paths of classes in `torch.nn`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from torch import nn

logger = logging.getLogger(__name__)
Activation = Callable[..., Any]


def dotted_path(activation: Activation) -> str:
    """Where the activation's class (or the function itself) is defined, as it is saved."""
    named: Any = activation if inspect.isclass(activation) or inspect.isfunction(activation) else type(activation)
    return f"{named.__module__}.{named.__qualname__}"


def load_activation(path: str, trust_remote_code: bool) -> Activation | None:
    """A fresh activation from its dotted path; None, with a line in the log, where the path is not trusted.

    Only module classes of `torch.nn` are made from a downloaded file, never just anything that can be imported,
    unless `trust_remote_code` says that the file may run code.
    """
    if path.startswith("torch.nn."):
        found = getattr(nn, path.rpartition(".")[2], None)
        if inspect.isclass(found) and issubclass(found, nn.Module):
            # Softmax and its kin: over the labels, not over the implicit axis that torch warns about.
            over_labels = {"dim": -1} if "dim" in inspect.signature(found).parameters else {}
            return cast(Activation, found(**over_labels))
    if trust_remote_code:
        return _imported(path)
    logger.warning(
        "activation %r comes from the model's configuration and is not of torch.nn; the default is used instead. "
        "Pass activation_fn=..., or trust_remote_code=True if you trust the model's author",
        path,
    )
    return None


def _imported(path: str) -> Activation:
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    return cast(Activation, found() if inspect.isclass(found) else found)


def saved_activation(config: Any) -> str | None:
    """The path that releases before 6 wrote into the transformers `config`, None where there is none."""
    newer: dict[str, str] | None = getattr(config, "sentence_transformers", None)
    if newer and "activation_fn" in newer:
        return newer["activation_fn"]
    return getattr(config, "sbert_ce_default_activation_function", None)


def default_activation(num_labels: int) -> Activation:
    """Sigmoid for one label, else none."""
    return nn.Sigmoid() if num_labels == 1 else nn.Identity()
