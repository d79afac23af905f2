"""Selected linear layers that compute in float32 although the model, or autocast around it, does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Float32Linear(nn.Linear):
    """A linear layer that computes and returns float32; its stored weights keep their type."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name in nn.Linear
        with torch.autocast(device_type=input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return functional.linear(input.float(), self.weight.float(), bias)


def local_name(name: str) -> str:
    """A layer's path here, from a path here or from that of sentence-transformers (`0.model.classifier`)."""
    return name.removeprefix("0.")


def theirs(name: str) -> str:
    """The path by which sentence-transformers knows the layer `name`: the transformer is its module 0."""
    return f"0.{name}" if name.startswith("model.") else name


def select(root: nn.Module, previous: Sequence[str], names: Any) -> list[str]:
    """Makes exactly the layers `names` compute in float32. Raises ValueError unless each is a plain linear layer."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("keep_in_fp32_modules must be a list of module paths")
    wanted = list(dict.fromkeys(local_name(name) for name in names))
    chosen = {layer for name in wanted for layer in _layers(root, name)}
    for layer in chosen:
        if type(layer) not in (nn.Linear, Float32Linear) or "forward" in layer.__dict__:
            raise ValueError(f"keep_in_fp32_modules takes plain nn.Linear layers, not {type(layer).__name__}")
    for layer in (layer for name in previous for layer in _layers(root, name)):
        if type(layer) is Float32Linear:
            layer.__class__ = nn.Linear  # type: ignore[assignment]
    for layer in chosen:
        layer.__class__ = Float32Linear
    return wanted


def _layers(root: nn.Module, name: str) -> Iterator[nn.Module]:
    """The layer under `name`; of a head that an adapter saves, the original and its copies."""
    try:
        found = root.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"keep_in_fp32_modules: there is no module {name!r}") from error
    copies = getattr(found, "modules_to_save", None)
    if isinstance(copies, nn.ModuleDict):
        yield found.original_module  # type: ignore[misc]
        yield from copies.values()
    else:
        yield found
