"""Dropout of the packed networks: its distribution, its gradient and its repetition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from app.model.packed.gpu_attention import attend_on_gpu
from app.model.packed.layout import Layout, Multiples
from tests.unit.training.cross_encoder.forward_models import build, gradients, padding_of, rows_of
from training.cross_encoder.forward import score_rows
from training.cross_encoder.packed.chunks import lay_out_rows
from training.cross_encoder.packed.cpu_attention import attend
from training.cross_encoder.packed.dropout import Dropout, Mask
from training.cross_encoder.padded import PaddedScorer

CPU = torch.device("cpu")
COUNT = 1_000_000


def layout_of(lengths: list[int], multiple: int = 1) -> Layout:
    """A chunk of rows of these lengths."""
    return lay_out_rows(rows_of(lengths), segments=False, multiples=Multiples(multiple, 1), device=CPU)


def kept(mask: Mask) -> Tensor:
    """1 where an element is kept, else 0."""
    return (mask.drop(torch.ones(COUNT)) > 0).float()


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.5, 0.9])
def test_the_share_that_is_dropped(share: float) -> None:
    """Within five standard deviations, and what is kept is scaled so that the mean stays."""
    torch.manual_seed(0)
    mask = Dropout(CPU).mask(share)
    deviation = (share * (1 - share) / COUNT) ** 0.5
    assert abs(kept(mask).mean().item() - (1 - share)) < 5 * deviation
    assert mask.scale == pytest.approx(1 / (1 - share), rel=1e-6)


def test_neighbours_and_passes_are_independent() -> None:
    """No correlation between neighbouring elements, between masks of a chunk, or between chunks."""
    torch.manual_seed(0)
    dropout = Dropout(CPU)
    first, second, other = (kept(source.mask(0.3)) - 0.7 for source in (dropout, dropout, Dropout(CPU)))
    for a, b in ((first[1:], first[:-1]), (first[4:], first[:-4]), (first, second), (first, other), (second, other)):
        assert abs((a * b).mean().item()) < 5 * 0.21 / COUNT**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_value_and_gradient_of_dropout(share: float, dtype: torch.dtype) -> None:
    """Elements are zero or scaled, and so are their gradients; a residual is added and gets all of its own."""
    torch.manual_seed(0)
    value, residual = (torch.randn(40, 30, dtype=dtype).requires_grad_() for _ in range(2))
    dropout = Dropout(CPU)
    for result, base in ((dropout(value, share), 0.0), (dropout.add(value, residual, share), residual.detach())):
        assert result.dtype == dtype
        kept = result.detach() - base
        (gradient,) = torch.autograd.grad(result.sum(), value)
        tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(kept, gradient * value.detach(), rtol=tolerance, atol=tolerance)
        assert set(gradient.unique().tolist()) <= {0.0, 1.0, gradient.max().item()}
    (gradient,) = torch.autograd.grad(dropout.add(value, residual, share).sum(), residual)
    assert torch.equal(gradient, torch.ones(40, 30, dtype=dtype))


def test_dropout_of_what_lies_scattered_in_memory() -> None:
    """A mask belongs to the places in a tensor, not in memory."""
    torch.manual_seed(0)
    value, mask = torch.randn(30, 40), Dropout(CPU).mask(0.5)
    assert torch.equal(mask.drop(value.t()), mask.drop(value.t().contiguous()))
    assert torch.equal(mask.drop_add(value.t(), value.t()), mask.drop(value.t().contiguous()) + value.t())


def explicit(qkv: Tensor, layout: Layout, share: float, dropout: Dropout, window: int | None) -> Tensor:
    """The definition: softmax of scaled products, dropped, times values; row by row."""
    parts = []
    for group in layout.groups:
        size, heads = qkv.shape[3], qkv.shape[2]
        q, k, v = qkv[group.start : group.end].view(group.rows, group.length, 3, heads, size).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) / size**0.5
        place = torch.arange(group.length)
        if window is not None:
            scores = scores.masked_fill((place[:, None] - place).abs() > window, -torch.inf)
        weights = scores.softmax(-1)
        if share:
            weights = weights * dropout.mask(share).drop(torch.ones(group.rows * heads * group.length**2)).view(
                weights.shape
            )
        parts.append((weights @ v).transpose(1, 2).reshape(-1, heads * size))
    return torch.cat([*parts, torch.zeros(layout.width - layout.tokens, qkv.shape[2] * qkv.shape[3])])


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_attention_is_its_definition(share: float, window: int | None) -> None:
    """Context and gradient, with the same dropout, rows of equal and of different length, and filling behind."""
    layout = layout_of([9, 6, 6, 6, 2], multiple=16)
    torch.manual_seed(1)
    qkv = torch.randn(layout.width, 3, 2, 8, requires_grad=True)
    outer = torch.randn(layout.width, 16)
    found = []
    for function in (attend, explicit):
        torch.manual_seed(2)
        context = function(qkv, layout, share, Dropout(CPU), window)
        found.append((context, torch.autograd.grad((context * outer).sum(), qkv)[0]))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning")
def test_attention_by_nested_tensors() -> None:
    """What a GPU uses with dropout, where the share is too small to drop anything; PyTorch has it on a CPU, too."""
    layout = layout_of([9, 6, 6, 6, 2], multiple=16)
    qkv, outer = torch.randn(layout.width, 3, 2, 8, requires_grad=True), torch.randn(layout.width, 16)
    found = []
    for function, share in ((attend_on_gpu, 1e-9), (attend, 0.0)):
        context = function(qkv, layout, share, Dropout(CPU))
        found.append((context, torch.autograd.grad((context * outer).sum(), qkv)[0]))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "modernbert-mean"])
def test_scores_are_distributed_as_those_of_transformers(family: str) -> None:
    """Mean and spread over many draws of all dropouts, attention's included."""
    model = build(family, initializer_range=0.15, num_labels=1).train()
    rows, pad = rows_of([9]) * 3000, padding_of(model)
    torch.manual_seed(0)
    with torch.no_grad():
        ours = score_rows(model, rows, pad=pad).double()
        theirs = PaddedScorer(model)([rows], pad).double()
    error = (ours.var() / len(rows) + theirs.var() / len(rows)).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4.5 * error
    assert ours.std() / theirs.std() == pytest.approx(1, abs=0.08)
    assert len(ours.unique()) > 2500  # each row has its own dropout


def test_dropout_follows_the_seed_of_pytorch() -> None:
    """Same seed, same scores and gradient; the next pass has others."""
    model = build("bert").train()
    rows, pad = rows_of([5, 40, 40, 17]), padding_of(model)

    def run() -> tuple[Tensor, Tensor]:
        return gradients(model, lambda: score_rows(model, rows, pad=pad, chunk_tokens=50))

    torch.manual_seed(7)
    first, second = run(), run()
    torch.manual_seed(7)
    again = run()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], second[0])
