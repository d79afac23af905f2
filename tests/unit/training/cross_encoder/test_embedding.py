"""Large tables whose gradients lie in the same memory at every step."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.cross_encoder.packed.embedding import _kept, forget, look_up

ROWS, HIDDEN = 20_000, 512
IDS = torch.tensor([3, 5, 3, 0, 19_999])


@pytest.fixture(params=[None, 0])
def table(request: pytest.FixtureRequest) -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(ROWS, HIDDEN, padding_idx=request.param)


def gradient(table: nn.Embedding, take: Callable[[nn.Module, Tensor], Tensor], ids: Tensor = IDS) -> Tensor:
    table.weight.grad = None
    taken = take(table, ids)
    taken.backward(torch.linspace(-1, 1, taken.numel()).view(taken.shape))  # type: ignore[no-untyped-call]
    assert table.weight.grad is not None
    return table.weight.grad


def test_the_gradient_is_that_of_the_table(table: nn.Embedding) -> None:
    """Rows that occur twice, and the padding row, which has none."""
    expected = gradient(table, nn.Module.__call__).clone()
    assert torch.equal(look_up(table, IDS), table(IDS))
    torch.testing.assert_close(gradient(table, look_up), expected, rtol=1e-6, atol=1e-6)


def test_memory_is_used_again_and_holds_nothing_of_the_step_before(table: nn.Embedding) -> None:
    """Not even what somebody wrote to rows that had no gradient, as a sum over processes does."""
    first = gradient(table, look_up)
    place = first.data_ptr()
    first.add_(1)
    del first
    expected = gradient(table, nn.Module.__call__, IDS[:2]).clone()
    second = gradient(table, look_up, IDS[:2])
    assert second.data_ptr() == place
    torch.testing.assert_close(second, expected, rtol=1e-6, atol=1e-6)


def test_a_table_that_grows_between_steps_has_a_gradient_of_its_new_size(table: nn.Embedding) -> None:
    """As `resize_token_embeddings` makes one do: new rows, in the same module."""
    gradient(table, look_up)
    table.weight = nn.Parameter(torch.cat([table.weight.detach(), torch.ones(8, HIDDEN)]))
    assert gradient(table, look_up).shape == (ROWS + 8, HIDDEN)


def test_a_gradient_that_somebody_keeps_stays_as_it_is(table: nn.Embedding) -> None:
    """As do those that several backward passes add up."""
    kept = gradient(table, look_up)
    values = kept.clone()
    look_up(table, IDS[:2]).sum().backward()  # type: ignore[no-untyped-call]
    assert table.weight.grad is kept
    torch.testing.assert_close(kept[3], values[3] + 1)
    values = kept.clone()
    del table.weight.grad
    view = gradient(table, look_up)[5:7]
    assert torch.equal(kept, values)
    seen = view.clone()
    gradient(table, look_up, IDS[:1])
    assert torch.equal(view, seen)


def test_memory_is_given_back(table: nn.Embedding) -> None:
    """When training ends, or with the model."""
    gradient(table, look_up)
    assert table in _kept
    forget(nn.Sequential(table))
    assert table not in _kept
    gradient(table, look_up)
    count = len(_kept)
    other: Any = nn.Embedding(ROWS, HIDDEN)
    gradient(other, look_up)
    assert len(_kept) == count + 1
    del other
    gc.collect()
    assert len(_kept) == count


def test_what_is_no_plain_large_table_is_called_itself(table: nn.Embedding) -> None:
    """Small ones, those with hooks (NEFTune's noise), sparse ones, frozen ones."""
    small, sparse = nn.Embedding(10, 4), nn.Embedding(ROWS, HIDDEN, sparse=True)
    few = torch.tensor([1, 2])
    for other in (small, sparse):
        look_up(other, few).sum().backward()  # type: ignore[no-untyped-call]
        assert other not in _kept
    assert sparse.weight.grad is not None
    assert sparse.weight.grad.is_sparse
    frozen = nn.Embedding(ROWS, HIDDEN).requires_grad_(False)
    assert not look_up(frozen, few).requires_grad
    table.register_forward_hook(lambda *given: given[-1] + 1)
    assert torch.equal(look_up(table, few), table.weight[few] + 1)
