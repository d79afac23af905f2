"""Which inputs the forward pass of a network takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

HANDED = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids", "logits_to_keep", "use_cache"})
"""All that this library hands to a network by itself."""


def input_names(network: nn.Module) -> frozenset[str]:
    """Names of the arguments of `network`, also where it is compiled, carries an adapter or has a patched `forward`.

    Wrappers say no more than `*args, **kwargs`: what they wrap is asked instead. One of an unknown kind, in which
    that cannot be found, takes whatever it is handed.
    """
    names: set[str] = set()
    for forward in _forwards(unwrapped(network)):
        parameters = inspect.signature(forward).parameters.values()
        names.update(one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
        if all(one.kind != one.VAR_KEYWORD for one in parameters):
            break
    return frozenset(names if "input_ids" in names else names | HANDED)


def unwrapped(network: Any) -> nn.Module:
    """The network inside those of `torch.compile` and PEFT, in whatever order they were put around it."""
    while True:
        inner = network.get_base_model() if hasattr(network, "get_base_model") else network
        inner = getattr(inner, "_orig_mod", inner)
        if inner is network:
            return inner  # type: ignore[no-any-return]
        network = inner


def _forwards(network: nn.Module) -> Iterator[Callable[..., Any]]:
    """Its forward pass, then those that it may pass arguments on to: its class's, which a patch calls, and bases'."""
    if "forward" in vars(network):
        yield network.forward
    for kind in type(network).__mro__:
        if kind is nn.Module:
            return
        if "forward" in vars(kind):
            yield vars(kind)["forward"]
