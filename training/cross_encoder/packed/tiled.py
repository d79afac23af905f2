"""Linear layers in float32 on a CPU, by products of our own where a pass has a core to itself."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from app.model.cpus import has_wide_registers
from app.model.packed.onednn import is_gelu
from app.model.packed.weights import Linear

Floats = NDArray[np.float32]
COLUMNS = 32
"""Of a panel."""
FEWEST = 6
"""Rows that the products take."""


class Panels(NamedTuple):
    """A weight as `multiply` takes it, for what it makes of a value and for the gradient of that, and its bias."""

    forward: Floats
    backward: Floats
    bias: Floats
    none: Floats
    """The bias of the gradient, which has none."""


class TiledLinear(Linear):
    """As `Linear`; where PyTorch has several threads at its disposal, or there are but few rows, it is one."""

    @classmethod
    def suits(cls, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether it is faster than `Linear` in that precision there."""
        return dtype == torch.float32 and device.type == "cpu" and has_wide_registers()

    def __call__(self, value: Tensor, activation: nn.Module | None = None) -> Tensor:
        """As that of `Linear`."""
        if torch.get_num_threads() > 1 or len(value) < FEWEST or value.dtype != torch.float32:
            return super().__call__(value, activation)
        gelu = activation is not None and is_gelu(activation) and self._panels.bias.size == self._outputs
        weights, biases = [one.weight for one in self._layers], [one.bias for one in self._layers]
        parameters = weights if biases[0] is None else [*weights, *biases]
        result: Tensor = _Tiled.apply(value, self._panels, gelu, len(weights), *parameters)  # type: ignore[no-untyped-call]
        return result if activation is None or gelu else activation(result)

    @property
    def _outputs(self) -> int:
        return sum(one.out_features for one in self._layers)

    @cached_property
    def _panels(self) -> Panels:
        from training.cross_encoder.packed.products import lay_out  # a second, and only training needs it

        outputs, inputs = self._outputs, self._layers[0].in_features
        found = Panels(
            np.zeros((_panels(outputs), inputs, COLUMNS), np.float32),
            np.zeros((_panels(inputs), outputs, COLUMNS), np.float32),
            np.zeros((_panels(outputs), COLUMNS), np.float32),
            np.zeros((_panels(inputs), COLUMNS), np.float32),
        )
        first = 0
        for layer in self._layers:
            last = first + layer.out_features
            lay_out(layer.weight.detach().numpy(), first, found.forward, found.backward)
            if layer.bias is not None:
                found.bias.reshape(-1)[first:last] = layer.bias.detach().numpy()
            first = last
        return found


class _Tiled(torch.autograd.Function):
    """Gradients of weights are PyTorch's products: ours would not be faster there."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, panels: Panels, gelu: bool, layers: int, *parameters: Tensor) -> Tensor:
        value = value.contiguous()
        result = value.new_empty(len(value), sum(map(len, parameters[:layers])))
        activated = torch.empty_like(result) if gelu else result.new_empty(0, 0)
        _multiply(value, panels.forward, panels.bias, result, activated)
        ctx.panels, ctx.gelu, ctx.sizes = panels, gelu, [len(one) for one in parameters[:layers]]
        ctx.save_for_backward(value, *([result] if gelu else []))
        return activated if gelu else result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        value, *inner = ctx.saved_tensors
        grad = _before_gelu(grads[0].contiguous(), *inner)
        result = torch.empty_like(value) if ctx.needs_input_grad[0] else None
        if result is not None:
            _multiply(grad, ctx.panels.backward, ctx.panels.none, result, result.new_empty(0, 0))
        return result, None, None, None, *_of_parameters(ctx, grad, value)


def _of_parameters(ctx: Any, grad: Tensor, value: Tensor) -> list[Tensor | None]:
    """Gradients of weights and biases, one piece for each layer, None where none is wanted."""
    wanted = ctx.needs_input_grad[4:]
    layers = len(ctx.sizes)
    whole = [grad.t() @ value if any(wanted[:layers]) else None, grad.sum(0) if any(wanted[layers:]) else None]
    pieces = [None if one is None else torch.split(one, ctx.sizes) for one in whole]
    flat = [piece for one in pieces for piece in (one or [None] * layers)]
    return [piece if want else None for piece, want in zip(flat, wanted, strict=False)]


def _multiply(value: Tensor, panels: Floats, bias: Floats, result: Tensor, activated: Tensor) -> None:
    from training.cross_encoder.packed.products import multiply

    multiply(value.numpy(), panels, bias, result.numpy(), activated.numpy())


def _before_gelu(grad: Tensor, *value: Tensor) -> Tensor:
    """The gradient of what GELU was taken of, if it was taken."""
    from training.cross_encoder.packed.products import multiply_by_slope

    if not value:
        return grad
    result = torch.empty_like(grad)
    multiply_by_slope(*(one.view(-1).numpy() for one in (grad, value[0], result)))
    return result


def _panels(width: int) -> int:
    return -(-width // COLUMNS)
