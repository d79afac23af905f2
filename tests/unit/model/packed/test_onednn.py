"""Linear layers in bf16 in inference mode: the same numbers, in fewer passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation, GELUTanh

from app.model.packed import onednn
from app.model.packed.onednn import blocked
from app.model.packed.weights import Linear

ULP = 2.0**-8
"""Of a bf16 number, at most, relative."""


def layers() -> tuple[list[nn.Linear], Tensor]:
    torch.manual_seed(0)
    return [nn.Linear(64, 48), nn.Linear(64, 48)], torch.randn(37, 64).bfloat16()


def expected(parts: list[nn.Linear], value: Tensor, activation: Any) -> Tensor:
    """In float64, of the rounded weights."""
    outputs = [
        functional.linear(value.double(), one.weight.bfloat16().double(), one.bias.bfloat16().double()) for one in parts
    ]
    whole = torch.cat(outputs, dim=1)
    return whole if activation is None else activation(whole)


@pytest.mark.parametrize(
    "activation",
    [None, GELUActivation(), nn.GELU(), nn.GELU(approximate="tanh"), GELUTanh(), nn.ReLU(), nn.Tanh()],
    ids=["none", "transformers' GELU", "GELU", "tanh GELU", "transformers' tanh GELU", "ReLU", "tanh"],
)
@pytest.mark.parametrize("inference", [False, True])
def test_bf16_layers_are_right_within_their_precision(activation: Any, inference: bool) -> None:
    parts, value = layers()
    with torch.inference_mode(inference):
        found = Linear(parts, torch.bfloat16)(value, activation).detach()
    wanted = expected(parts, value, activation).detach()
    assert found.dtype == torch.bfloat16
    assert (found.double() - wanted).abs().max() <= 2 * ULP * wanted.abs().max()


@pytest.mark.skipif(blocked(torch.zeros(8, 8, dtype=torch.bfloat16)) is None, reason="oneDNN has no bf16 here")
def test_gelu_is_taken_of_sums_that_are_not_rounded_yet() -> None:
    """So that its result is rounded once, to the nearest bf16 number."""
    parts, value = layers()
    with torch.inference_mode():
        found = Linear(parts, torch.bfloat16)(value, GELUActivation())
        once = expected(parts, value, GELUActivation()).bfloat16()
        twice = GELUActivation()(expected(parts, value, None).bfloat16())
    assert (found != once).float().mean() < 0.01  # sums in another order
    assert (twice != once).float().mean() > 0.05


@pytest.mark.parametrize("error", [AttributeError("no such operator"), RuntimeError("not on this processor")])
def test_where_the_operators_are_missing_pytorchs_own_layers_compute(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Tensor:
        raise error

    monkeypatch.setattr(onednn.torch.ops.mkldnn, "_reorder_linear_weight", fails)
    parts, value = layers()
    layer = Linear(parts, torch.bfloat16)
    with torch.inference_mode():
        found = layer(value, GELUActivation())
    assert blocked(parts[0].weight.bfloat16()) is None
    wanted = expected(parts, value, GELUActivation())
    assert (found.double() - wanted).abs().max() <= 2 * ULP * wanted.abs().max()


def test_float32_layers_are_left_to_pytorch() -> None:
    """Their numbers are those of the model's own layers, bit for bit."""
    parts, value = layers()
    with torch.inference_mode():
        found = Linear(parts[:1], torch.float32)(value.float(), GELUActivation())
        assert torch.equal(found, GELUActivation()(parts[0](value.float())))


def test_without_gradients_alone_the_bits_are_those_of_a_pass_with_gradients() -> None:
    """Gradient caching computes scores without them first, and then once more with them."""
    parts, value = layers()
    with torch.no_grad():
        found = Linear(parts, torch.bfloat16)(value, GELUActivation())
    assert torch.equal(found, Linear(parts, torch.bfloat16)(value, GELUActivation()))
