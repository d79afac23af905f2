"""Rounding weights to integers so that their products with real inputs change least, not the weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.model.types import Batch, FloatArray
from app.model.vnni.weights import LEVELS, TYPES, block_size

Moments = dict[str, NDArray[np.float64]]
"""By layer: the sum over all inputs x of x x^T, shape (inputs, inputs)."""
DAMPING = 0.1
"""Share of the mean square that is added to all: a few texts do not show all inputs that there are."""


def input_moments(model: Any, layers: Mapping[str, Any], batches: Sequence[Batch]) -> Moments:
    """What the `layers` of a PyTorch model, by any name, are given for the batches, which have no padding."""
    found: dict[str, Tensor] = {}

    def watching(name: str) -> Callable[[Any, tuple[Tensor, ...]], None]:
        def watch(_: Any, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].reshape(-1, inputs[0].shape[-1])
            found[name] = found.get(name, 0) + (rows.T @ rows).double()

        return watch

    handles = [layer.register_forward_pre_hook(watching(name)) for name, layer in layers.items()]
    try:
        with torch.inference_mode():
            for batch in batches:
                model(**{name: torch.from_numpy(np.asarray(values)) for name, values in batch.items()})
    finally:
        for handle in handles:
            handle.remove()
    return {name: moments.numpy() for name, moments in found.items()}


def rounded(weight: FloatArray, bits: int, moments: NDArray[np.float64]) -> tuple[NDArray[np.integer[Any]], FloatArray]:
    """As `quantised`: integers of a matrix of shape (outputs, inputs), and the scales of each output's blocks.

    Column after column is rounded, and what that does to the products is taken out of the columns to come, as far as
    inputs go together. Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers", algorithm 1.
    """
    outputs, inputs = weight.shape
    size, levels = block_size(inputs, bits), LEVELS[bits]
    left = torch.from_numpy(weight.copy()).double()
    means = torch.from_numpy(moments / max(np.trace(moments) / inputs, 1e-30))
    inverse = torch.linalg.inv(means + DAMPING * torch.eye(inputs, dtype=torch.float64))
    factors = torch.linalg.cholesky(inverse, upper=True)
    integers, scales = torch.empty(outputs, inputs), torch.empty(outputs, inputs // size)
    for block in range(inputs // size):
        own = slice(block * size, (block + 1) * size)
        scales[:, block] = left[:, own].abs().amax(1).clamp_min(1e-30) / levels
        step, errors = scales[:, block].double(), torch.empty(outputs, size, dtype=torch.float64)
        for column in range(own.start, own.stop):
            integers[:, column] = (left[:, column] / step).round().clamp(-levels, levels)
            missed = (left[:, column] - integers[:, column] * step) / factors[column, column]
            errors[:, column - own.start] = missed
            left[:, column + 1 : own.stop] -= missed[:, None] * factors[column, column + 1 : own.stop]
        left[:, own.stop :] -= errors @ factors[own, own.stop :]
    return integers.numpy().astype(TYPES[bits]), scales.numpy()
