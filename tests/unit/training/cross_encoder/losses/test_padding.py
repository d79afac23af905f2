"""Padding, its place and its content change neither the value nor the gradient of a listwise loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.cross_encoder.losses.adr_mse import adr_mse
from training.cross_encoder.losses.lambda_loss import lambda_loss
from training.cross_encoder.losses.lambda_schemes import (
    LambdaRankScheme,
    NDCGLoss1Scheme,
    NDCGLoss2PPScheme,
    NDCGLoss2Scheme,
)
from training.cross_encoder.losses.list_mle import list_mle
from training.cross_encoder.losses.list_net import list_net
from training.cross_encoder.losses.lists import pad_lists
from training.cross_encoder.losses.mean import Mean
from training.cross_encoder.losses.multiple_negatives_ranking import multiple_negatives_ranking
from training.cross_encoder.losses.plist_mle import PListMLELambdaWeight, plist_mle
from training.cross_encoder.losses.rank_net import rank_net

Loss = Callable[[Tensor, Tensor, Tensor], Mean]

LOSSES: dict[str, Loss] = {
    "adr_mse": adr_mse,
    "list_net": list_net,
    "list_mle": list_mle,
    "list_mle, sorted": lambda *batch: list_mle(*batch, respect_input_order=False),
    "plist_mle": lambda *batch: plist_mle(*batch, PListMLELambdaWeight()),
    "plist_mle, sorted": lambda *batch: plist_mle(*batch, PListMLELambdaWeight(), respect_input_order=False),
    "rank_net": rank_net,
    "rank_net@2": lambda *batch: rank_net(*batch, k=2),
    "lambda, ndcg1": lambda *batch: lambda_loss(*batch, NDCGLoss1Scheme()),
    "lambda, ndcg2": lambda *batch: lambda_loss(*batch, NDCGLoss2Scheme()),
    "lambda, lambdarank": lambda *batch: lambda_loss(*batch, LambdaRankScheme(), k=3),
    "lambda, ndcg2++": lambda *batch: lambda_loss(*batch, NDCGLoss2PPScheme()),
}
NUMBERS = st.floats(-20, 20, width=32)
DOCUMENTS = st.lists(st.tuples(NUMBERS, st.integers(0, 3)), min_size=0, max_size=6)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=40)
@given(batch=st.lists(DOCUMENTS, min_size=1, max_size=3), seed=st.integers(0, 99), filler=NUMBERS)
def test_padding_changes_nothing(name: str, batch: list[list[tuple[float, int]]], seed: int, filler: float) -> None:
    scores, labels, mask = dense(batch)
    wide = [
        spread_out(scores, mask, seed, filler),
        spread_out(labels, mask, seed, filler),
        spread_out(mask, mask, seed, 0),
    ]
    value, gradient = value_and_gradient(LOSSES[name], scores, labels, mask)
    wide_value, wide_gradient = value_and_gradient(LOSSES[name], *wide)
    torch.testing.assert_close(wide_value, value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(wide_gradient[wide[2]], gradient[mask], rtol=1e-4, atol=1e-5)
    assert not wide_gradient[~wide[2]].any()


def dense(batch: list[list[tuple[float, int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, labels and mask, padded at the end with zeros to the longest list."""
    lengths = [len(documents) for documents in batch]
    flat = [pair for documents in batch for pair in documents]
    scores, mask = pad_lists(torch.tensor([score for score, _ in flat], dtype=torch.float32), lengths)
    labels, _ = pad_lists(torch.tensor([label for _, label in flat], dtype=torch.float32), lengths)
    return scores, labels, mask


def spread_out(values: Tensor, mask: Tensor, seed: int, filler: float) -> Tensor:
    """The same rows, four columns wider, the real entries in order at random places between `filler`."""
    rows, width = values.shape
    wide = torch.full((rows, width + 4), filler).to(values.dtype)
    places = torch.rand(rows, width + 4, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    for row in range(rows):
        kept = values[row][mask[row]]
        wide[row, places[row, : len(kept)].sort().values] = kept
    return wide


def value_and_gradient(loss: Loss, scores: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, labels, mask).value()
    value.backward()
    assert value.isfinite()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_the_derivative(name: str) -> None:
    """Checked in float64, which the functions keep."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(3, 5, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 3, (3, 5), generator=generator).double()
    mask = torch.arange(5) < torch.tensor([[5], [3], [2]])
    assert torch.autograd.gradcheck(lambda values: LOSSES[name](values, labels, mask).value(), scores)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    """Also named #3793 in the public tracker of sentence-transformers: a bfloat16 model crashed listwise losses."""
    scores, labels = torch.randn(3, 200).to(dtype) * 50, torch.randint(0, 4, (3, 200))
    mask = torch.arange(200) < torch.tensor([[200], [130], [0]])
    value, gradient = value_and_gradient(LOSSES[name], scores, labels, mask)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, LOSSES[name](scores.float(), labels, mask).value())
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_no_document_at_all_is_zero_with_a_gradient_path(name: str) -> None:
    value, gradient = value_and_gradient(LOSSES[name], torch.ones(2, 3), torch.ones(2, 3), torch.zeros(2, 3).bool())
    assert value == 0.0
    assert not gradient.any()


def test_masked_candidates_do_not_count_in_multiple_negatives_ranking() -> None:
    scores = torch.tensor([[1.0, 2.0, 9.0]])
    masked = multiple_negatives_ranking(scores, torch.tensor([[True, True, False]])).value()
    torch.testing.assert_close(masked, multiple_negatives_ranking(scores[:, :2]).value())
