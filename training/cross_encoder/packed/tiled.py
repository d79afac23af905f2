"""Linear layers in float32 on a CPU, by products of our own where a pass has a core to itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from app.model.cpus import has_wide_registers
from app.model.packed.onednn import is_gelu
from app.model.packed.weights import Linear
from app.model.vnni.tile_size import COLUMNS, ROWS


class TiledLinear(Linear):
    """As `Linear`; where PyTorch has several threads at its disposal, or there are but few rows, it is one."""

    @classmethod
    def suits(cls, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether it is faster than `Linear` in that precision there."""
        return dtype == torch.float32 and device.type == "cpu" and has_wide_registers()

    def __call__(self, value: Tensor, activation: nn.Module | None = None) -> Tensor:
        """As that of `Linear`."""
        if torch.get_num_threads() > 1 or len(value) < ROWS or value.dtype != torch.float32:
            return super().__call__(value, activation)
        whole = all(one.out_features % COLUMNS == 0 for one in self._layers)
        gelu = activation is not None and is_gelu(activation) and whole
        weights, biases = [one.weight for one in self._layers], [one.bias for one in self._layers]
        parameters = weights if biases[0] is None else [*weights, *biases]
        result: Tensor = _Tiled.apply(value, gelu, len(weights), *parameters)  # type: ignore[no-untyped-call]
        return result if activation is None or gelu else activation(result)


class _Tiled(torch.autograd.Function):
    """Gradients of weights are PyTorch's products: ours would not be faster there."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gelu: bool, layers: int, *parameters: Tensor) -> Tensor:
        from training.cross_encoder.packed.products import multiply  # a second, and only training needs it

        value, weights = value.contiguous(), parameters[:layers]
        biases = parameters[layers:] or [value.new_empty(0)] * layers
        result = value.new_empty(len(value), sum(map(len, weights)))
        activated = torch.empty_like(result) if gelu else result.new_empty(0, 0)
        multiply(value.numpy(), _arrays(weights), _arrays(biases), result.numpy(), activated.numpy())
        ctx.layers = layers
        ctx.save_for_backward(value, *weights, *([result] if gelu else []))
        return activated if gelu else result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from training.cross_encoder.packed.products import multiply_back

        value, *others = ctx.saved_tensors
        weights, inner = others[: ctx.layers], others[ctx.layers :]
        grad, result = _before_gelu(grads[0].contiguous(), *inner), None
        if ctx.needs_input_grad[0]:
            result = torch.empty_like(value)
            multiply_back(grad.numpy(), _arrays(weights), result.numpy())
        return result, None, None, *_of_parameters(grad, value, weights, ctx.needs_input_grad[3:])


def _of_parameters(
    grad: Tensor, value: Tensor, weights: Sequence[Tensor], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of weights and biases, a piece for each layer, None where none is wanted."""
    layers = len(weights)
    whole = [grad.t() @ value if any(wanted[:layers]) else None, grad.sum(0) if any(wanted[layers:]) else None]
    sizes = list(map(len, weights))
    pieces = [piece for one in whole for piece in ([None] * layers if one is None else torch.split(one, sizes))]
    return [piece if want else None for piece, want in zip(pieces, wanted, strict=False)]


def _arrays(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple(one.detach().contiguous().numpy() for one in tensors)


def _before_gelu(grad: Tensor, *value: Tensor) -> Tensor:
    """The gradient of what GELU was taken of, if it was taken."""
    from training.cross_encoder.packed.products import multiply_by_slope

    if not value:
        return grad
    result = torch.empty_like(grad)
    multiply_by_slope(*(one.view(-1).numpy() for one in (grad, value[0], result)))
    return result
