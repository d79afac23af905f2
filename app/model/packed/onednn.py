"""Linear layers in bf16 on a CPU, in inference mode: weights laid out once, and GELU in the same pass as the product.

The operators are those that torch.compile makes its code of. They are not documented, so what is not there is done
without.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def blocked(weight: Tensor) -> Tensor | None:
    """`weight` as `linear` takes it; None where this PyTorch, or this processor, computes no linear layers so."""
    operators = torch.ops.mkldnn
    try:
        if not operators._is_mkldnn_bf16_supported():
            return None
        laid_out: Tensor = operators._reorder_linear_weight(weight.detach().contiguous())
        linear(weight.new_zeros(1, weight.shape[1]), laid_out, None, None)
    except (AttributeError, RuntimeError):
        return None
    return laid_out


def linear(value: Tensor, weight: Tensor, bias: Tensor | None, activation: nn.Module | None) -> Tensor:
    """`activation` of the linear layer: GELU on the sums in float32, before they are rounded. `weight` is blocked."""
    inside = activation is not None and is_gelu(activation)
    kind, algorithm = ("gelu", "none") if inside else ("none", "")
    result: Tensor = torch.ops.mkldnn._linear_pointwise(value, weight, bias, kind, [], algorithm)
    return result if activation is None or inside else activation(result)


def is_gelu(activation: nn.Module) -> bool:
    """Whether it is the one by the error function, which transformers has a class of its own for."""
    return getattr(activation, "act", None) is functional.gelu or (
        isinstance(activation, nn.GELU) and activation.approximate == "none"
    )
