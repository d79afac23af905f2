"""The one table of activations: names and legacy dotted paths to float32 functions of logits.

Names found in downloaded files are looked up here; nothing is ever imported from them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from app.model.types import FloatArray

Activation = Callable[[FloatArray], FloatArray]


def identity(logits: FloatArray) -> FloatArray:
    """Logits as they are, shape kept."""
    return logits


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), computed so that neither tail overflows; shape kept."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0 / (1.0 + small), small / (1.0 + small)).astype(np.float32, copy=False)


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis with the maximum subtracted; shape kept."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


ACTIVATIONS: dict[str, Activation] = {"identity": identity, "sigmoid": sigmoid, "softmax": softmax}

DOTTED_PATHS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.Softmax": "softmax",
    "torch.nn.Softmax": "softmax",
}
"""What sentence-transformers writes into `config.json`, mapped to our names."""
