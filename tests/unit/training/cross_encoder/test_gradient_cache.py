"""Gradient caching: the same gradient in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unit.training.cross_encoder.forward_models import build, distance, gradients, padding_of, rows_of
from training.cross_encoder.forward import score_rows
from training.cross_encoder.gradient_cache import cached_scores

LENGTHS = [5, 61, 7, 33, 61, 3, 24, 90, 12, 61, 24]
LIMITS: dict[str, Any] = {"chunk_tokens": 100}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("autocast", [False, True])
def test_cached_gradient_with_dropout_is_the_direct_one(family: str, packed: bool, autocast: bool) -> None:
    """The second pass draws the same dropout; afterwards the generators stand where the direct way leaves them."""
    model = build(family).train()
    if not packed:
        model.register_forward_hook(lambda module, inputs, output: output)
    rows, pad, found = rows_of(LENGTHS), padding_of(model), []
    for limits in (LIMITS, LIMITS | {"mini_batch_tokens": 120}):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            scores = score_rows(model, rows, pad=pad, **limits)
        found.append((*gradients(model, lambda scores=scores: scores), torch.rand(1)))
    (direct, gradient, after), (cached, own, then) = found
    assert torch.equal(direct, cached)
    assert distance(own, gradient) < (1e-2 if autocast and not packed else 1e-5)
    assert torch.equal(after, then)


def test_each_parameter_gets_its_gradient_once() -> None:
    """What DistributedDataParallel waits for happens once per parameter, however many mini-batches there are."""
    model = build("bert")
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _, name=name: counts.__setitem__(name, counts.get(name, 0) + 1)
        )
    score_rows(model, rows_of(LENGTHS), pad=padding_of(model), mini_batch_tokens=70).sum().backward()
    assert counts == dict.fromkeys(counts, 1)
    assert len(counts) == len(list(model.parameters()))


class Counting(nn.Module):
    """One weight; counts the activations that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.unused = nn.Parameter(torch.tensor(1.0))
        self.alive = self.most = 0

    def run(self, part: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
            return (part * self.weight).exp().unsqueeze(-1)

    def _pack(self, tensor: Tensor) -> Tensor:
        self.alive += 1
        self.most = max(self.most, self.alive)
        return tensor

    def _unpack(self, tensor: Tensor) -> Tensor:
        self.alive -= 1
        return tensor


def test_activations_of_one_part_are_held_at_a_time() -> None:
    """Ten parts never hold more than one part's tensors; parameters that nothing uses get no gradient."""
    alone, model = Counting(), Counting()
    part = torch.tensor([0.1, 0.2])
    alone.run(part).sum().backward()
    scores = cached_scores(model.run, [part] * 10, model)
    assert model.most == 0
    scores.sum().backward()
    assert model.most == alone.most
    torch.testing.assert_close(model.weight.grad, alone.weight.grad * 10)
    assert model.unused.grad is None


def test_a_changed_parameter_is_noticed() -> None:
    """An optimiser step between the two passes would give a wrong gradient; PyTorch's check says so."""
    model = Counting()
    scores = cached_scores(model.run, [torch.ones(2)] * 2, model)
    with torch.no_grad():
        model.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        scores.sum().backward()


def test_an_error_in_the_second_pass_leaves_the_generators_alone() -> None:
    """They are set back to where they stood."""
    calls = []

    def run(part: Tensor) -> Tensor:
        calls.append(part)
        if len(calls) > 2:
            raise MemoryError
        return (part * model.weight + torch.rand(1)).unsqueeze(-1)

    model = Counting()
    scores = cached_scores(run, [torch.ones(1)] * 2, model)
    before = torch.get_rng_state()
    with pytest.raises(MemoryError):
        scores.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_model_has_nothing_to_cache() -> None:
    """Scores without gradient, even with a limit."""
    model = build("bert").requires_grad_(False)
    scores = score_rows(model, rows_of(LENGTHS), pad=padding_of(model), mini_batch_tokens=70)
    assert not scores.requires_grad
