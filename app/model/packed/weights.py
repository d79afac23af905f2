"""The weights of a model in the precision that a pass computes in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from app.model.packed.onednn import blocked, linear


class Linear:
    """Linear layers with the same input, taken as one, in `dtype`.

    The layers' own weights may be in another precision; each use passes their gradient back in that.
    """

    def __init__(self, layers: list[nn.Linear], dtype: torch.dtype) -> None:
        self._layers, self._dtype = layers, dtype

    @cached_property
    def _weight(self) -> _Cast:
        return _Cast(_joined([layer.weight for layer in self._layers]), self._dtype)

    @cached_property
    def _bias(self) -> _Cast | None:
        biases = [layer.bias for layer in self._layers]
        return None if biases[0] is None else _Cast(_joined(biases), self._dtype)

    @cached_property
    def _blocked(self) -> Tensor | None:
        """The weight as oneDNN computes with it, None where it does not. The plain one is not kept beside it."""
        if self._dtype != torch.bfloat16 or self._layers[0].weight.device.type != "cpu":
            return None
        return blocked(_joined([layer.weight for layer in self._layers]).to(self._dtype))

    def __call__(self, value: Tensor, activation: nn.Module | None = None) -> Tensor:
        """What the layers, and `activation` behind them, make of `value`: shape (rows, inputs), in any precision."""
        bias = None if self._bias is None else self._bias()
        # Only there: without gradients alone is also the first of two passes, which must give the bits of the second.
        if torch.is_inference_mode_enabled() and self._blocked is not None:
            return linear(value.to(self._dtype), self._blocked, bias, activation)
        weight = self._weight()
        result = functional.linear(value.to(weight.dtype), weight, bias)
        return result if activation is None else activation(result)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


class _Cast:
    """A tensor in another precision: converted once, yet each use has its own gradient.

    Were the converted tensor shared, the gradients of all chunks would be added up in the lower precision.
    """

    def __init__(self, master: Tensor, dtype: torch.dtype) -> None:
        self._master = master
        self._copy = None if master.dtype == dtype else master.detach().to(dtype)

    def __call__(self) -> Tensor:
        if self._copy is None:
            return self._master
        cast: Tensor = _CastOnce.apply(self._master, self._copy)  # type: ignore[no-untyped-call]
        return cast


class _CastOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, master: Tensor, copy: Tensor) -> Tensor:
        ctx.dtype = master.dtype
        return copy.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].to(ctx.dtype), None
