"""Linear layers by products of our own, beside PyTorch's."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.activations import GELUActivation

from app.model import cpus
from app.model.packed.weights import Linear
from training.cross_encoder.packed import tiled
from training.cross_encoder.packed.tiled import TiledLinear

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_core")


def layers(widths: list[int], inputs: int, *, bias: bool = True) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(inputs, width, bias=bias) for width in widths]


def run(
    kind: type[Linear], own: list[nn.Linear], value: torch.Tensor, activation: nn.Module | None
) -> list[torch.Tensor | None]:
    """The result, and the gradients of the value and of all weights and biases."""
    value = value.clone().requires_grad_()
    result = kind(own, torch.float32)(value, activation)
    weights = [one for one in chain.from_iterable(layer.parameters() for layer in own) if one.requires_grad]
    slope = torch.linspace(-1, 1, result.numel()).reshape(result.shape)
    return [result, *torch.autograd.grad(result, [value, *weights], slope)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [None, GELUActivation(), nn.GELU(), nn.GELU("tanh"), nn.ReLU()])
@pytest.mark.parametrize(("rows", "widths", "inputs"), [(6, [96], 64), (47, [64, 64, 64], 64), (13, [40, 7], 33)])
def test_results_and_gradients(
    rows: int, widths: list[int], inputs: int, activation: nn.Module | None, bias: bool
) -> None:
    """Whatever lies behind the product, and where widths fill no registers."""
    own, value = layers(widths, inputs, bias=bias), torch.randn(rows, inputs)
    ours, plain = (run(kind, own, value, activation) for kind in (TiledLinear, Linear))
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)


def test_what_is_frozen_gets_no_gradient() -> None:
    own, value = layers([32, 32], 32), torch.randn(8, 32)
    own[0].weight.requires_grad_(False)
    own[1].bias.requires_grad_(False)
    for found, expected in zip(*(run(kind, own, value, None) for kind in (TiledLinear, Linear)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize(("rows", "threads"), [(5, 1), (8, 2)])
def test_few_rows_and_several_threads_are_left_to_pytorch(
    rows: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our products have one core and six rows at a time."""
    torch.set_num_threads(threads)
    monkeypatch.setattr(tiled, "_Tiled", None)
    own, value = layers([32], 32), torch.randn(rows, 32)
    found = TiledLinear(own, torch.float32)(value)
    torch.testing.assert_close(found, functional.linear(value, own[0].weight, own[0].bias))


def test_values_need_not_be_in_one_piece() -> None:
    own, value = layers([32], 32), torch.randn(32, 12).t()
    torch.testing.assert_close(TiledLinear(own, torch.float32)(value), own[0](value), rtol=1e-5, atol=1e-6)


def test_only_float32_on_processors_with_wide_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "cpu_model", lambda: "EPYC avx512f fma")
    assert TiledLinear.suits(torch.float32, CPU)
    assert not TiledLinear.suits(torch.bfloat16, CPU)
    assert not TiledLinear.suits(torch.float64, CPU)
    assert not TiledLinear.suits(torch.float32, torch.device("cuda"))
    monkeypatch.setattr(cpus, "cpu_model", lambda: "Ryzen avx2 fma")
    assert not TiledLinear.suits(torch.float32, CPU)
