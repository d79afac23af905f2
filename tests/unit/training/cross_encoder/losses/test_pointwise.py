"""The functions behind the losses over pairs, classes and margins: equal to PyTorch's and the library's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sentence_transformers.cross_encoder import losses as library
from torch import Tensor, nn

from tests.unit.training.cross_encoder.losses.tables import LibraryTable, columns, value_and_gradient
from training.cross_encoder.losses.binary_cross_entropy import binary_cross_entropy
from training.cross_encoder.losses.cross_entropy import cross_entropy
from training.cross_encoder.losses.margin_mse import margin_mse, margins
from training.cross_encoder.losses.mean import Mean
from training.cross_encoder.losses.mse import mse

ROWS = 6
MASK = torch.tensor([True, True, False, True, False, True])
KEPT = int(MASK.sum())
REDUCTIONS = ("mean", "sum", "none")
Options = dict[str, Any]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def outcome(loss: Callable[[Tensor], Any], scores: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and the gradient of its sum."""
    leaf = scores.clone().requires_grad_()
    found = loss(leaf)
    value = found.value() if isinstance(found, Mean) else found
    value.sum().backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def assert_same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], mask: Tensor) -> None:
    """Equal on what is kept; what is masked has loss and gradient 0."""
    value, gradient = ours
    if value.dim():
        assert not value[~mask].any()
        value = value[mask]
    torch.testing.assert_close(value, theirs[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient[mask], theirs[1], rtol=1e-5, atol=1e-5)
    assert not gradient[~mask].any()


def with_rubbish(values: Tensor, mask: Tensor) -> Tensor:
    """`values`, but NaN where `mask` is False: nothing of it may reach the loss."""
    return values.where(mask.reshape(mask.shape + (1,) * (values.dim() - mask.dim())), torch.nan)


OF_PAIRS: list[tuple[Any, Any, str, Options]] = [
    (binary_cross_entropy, nn.BCEWithLogitsLoss, "BinaryCrossEntropyLoss", {}),
    (binary_cross_entropy, nn.BCEWithLogitsLoss, "BinaryCrossEntropyLoss", {"pos_weight": torch.tensor(4.0)}),
    (binary_cross_entropy, nn.BCEWithLogitsLoss, "BinaryCrossEntropyLoss", {"pos_weight": torch.tensor([0.5])}),
    (binary_cross_entropy, nn.BCEWithLogitsLoss, "BinaryCrossEntropyLoss", {"weight": torch.tensor(3.0)}),
    (mse, nn.MSELoss, "MSELoss", {}),
]


@pytest.mark.parametrize(("function", "module", "name", "options"), OF_PAIRS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", [MASK, torch.ones(ROWS, dtype=torch.bool)], ids=["masked rows", "all rows"])
def test_functions_of_pairs(
    function: Any, module: Any, name: str, options: Options, reduction: str, mask: Tensor
) -> None:
    scores, labels = random(ROWS), torch.tensor([0.0, 1.0, 0.3, 1.0, 0.0, 0.9])
    hidden = (with_rubbish(scores, mask), with_rubbish(labels, mask))
    ours = outcome(lambda leaf: function(leaf, hidden[1], mask, **options, reduction=reduction), hidden[0])
    theirs = module(**options, reduction=reduction)
    assert_same(ours, outcome(lambda leaf: theirs(leaf, labels[mask]), scores[mask]), mask)
    if reduction == "none":
        return
    table = LibraryTable(scores[mask].diag()[:, :, None])
    whole = getattr(library, name)(table, **options, reduction=reduction)
    value, gradient = value_and_gradient(whole, table.inner.table, columns(int(mask.sum()), 1), labels[mask])
    assert_same(ours, (value, gradient[:, :, 0].diag()), mask)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_weight_for_each_pair_does_not_change_what_the_mean_divides_by(reduction: str) -> None:
    scores, labels, weight = random(ROWS), torch.rand(ROWS), torch.arange(1.0, ROWS + 1)
    ours = outcome(
        lambda leaf: binary_cross_entropy(leaf, labels, MASK, weight=weight, reduction=reduction),
        with_rubbish(scores, MASK),
    )
    theirs = nn.BCEWithLogitsLoss(weight=weight[MASK], reduction=reduction)
    assert_same(ours, outcome(lambda leaf: theirs(leaf, labels[MASK]), scores[MASK]), MASK)


CLASS_WEIGHTS = torch.tensor([1.0, 2.0, 0.5])
OF_CLASSES: list[Options] = [
    {},
    {"weight": CLASS_WEIGHTS},
    {"label_smoothing": 0.1},
    {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2},
    {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2, "ignore_index": 1},
]


@pytest.mark.parametrize("options", OF_CLASSES, ids=lambda options: ", ".join(options) or "no option")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("soft", [False, True], ids=["ids", "distributions"])
@pytest.mark.parametrize("mask", [MASK, torch.ones(ROWS, dtype=torch.bool)], ids=["masked rows", "all rows"])
def test_the_function_of_classes(options: Options, reduction: str, soft: bool, mask: Tensor) -> None:
    scores, ids = random(ROWS, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    labels = random(ROWS, 3, seed=1).softmax(dim=1) if soft else ids
    options = {key: value for key, value in options.items() if not (soft and key == "ignore_index")}
    hidden = with_rubbish(labels, mask) if soft else labels.where(mask, 2**40)
    ours = outcome(
        lambda leaf: cross_entropy(leaf, hidden, mask, **options, reduction=reduction), with_rubbish(scores, mask)
    )
    theirs = nn.CrossEntropyLoss(**options, reduction=reduction)
    assert_same(ours, outcome(lambda leaf: theirs(leaf, labels[mask]), scores[mask]), mask)
    if reduction == "none":
        return
    kept = int(mask.sum())
    wide = torch.zeros(kept, kept, 3)
    wide[range(kept), range(kept)] = scores[mask]
    table = LibraryTable(wide)
    whole = library.CrossEntropyLoss(table, **options, reduction=reduction)
    value, gradient = value_and_gradient(whole, table.inner.table, columns(kept, 1), labels[mask])
    assert_same(ours, (value, gradient[range(kept), range(kept)]), mask)


def test_a_class_of_a_distribution_cannot_be_ignored() -> None:
    """As with torch."""
    with pytest.raises(RuntimeError, match="ignore_index is not supported"):
        cross_entropy(random(2, 3), torch.rand(2, 3), torch.ones(2).bool(), ignore_index=1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_function_of_margins(reduction: str) -> None:
    """A masked negative leaves the row's others; a masked positive takes the whole row away."""
    scores, gold = random(3, 4), random(3, 3, seed=1)
    mask = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]]).bool()
    kept = mask[:, :1] & mask[:, 1:]
    found = margin_mse(with_rubbish(scores, mask), gold, mask, reduction)
    if isinstance(found, Mean):
        assert found.weight == 5
    elif reduction == "none":
        assert not found[~kept].any()
    ours, gradient = outcome(
        lambda leaf: margin_mse(leaf, with_rubbish(gold, kept), mask, reduction), with_rubbish(scores, mask)
    )
    theirs = nn.MSELoss(reduction=reduction)
    expected, expected_gradient = outcome(lambda leaf: theirs(margins(leaf)[kept], gold[kept]), scores)
    torch.testing.assert_close(ours[kept] if ours.dim() else ours, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_margins_of_whole_rows_equal_the_library(reduction: str) -> None:
    scores, gold, rows = random(ROWS, 3), random(ROWS, 2, seed=1), torch.ones(ROWS, 3).bool() & MASK[:, None]
    ours = outcome(lambda leaf: margin_mse(leaf, gold, rows, reduction), with_rubbish(scores, MASK))
    wide = torch.zeros(KEPT, 3 * KEPT, 1)
    places = (torch.arange(KEPT)[:, None], KEPT * torch.arange(3) + torch.arange(KEPT)[:, None])
    wide[*places, 0] = scores[MASK]
    table = LibraryTable(wide)
    whole = library.MarginMSELoss(table, reduction=reduction)
    value, gradient = value_and_gradient(whole, table.inner.table, columns(KEPT, 3), gold[MASK])
    assert_same(ours, (value, gradient[*places, 0]), MASK)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...], Tensor]] = {
    "binary_cross_entropy": (binary_cross_entropy, (ROWS,), torch.tensor([0.0, 1.0, 0.3, 1.0, 0.0, 0.9])),
    "cross_entropy": (cross_entropy, (ROWS, 3), torch.tensor([0, 2, 1, 1, 0, 2])),
    "cross_entropy of distributions": (cross_entropy, (ROWS, 3), random(ROWS, 3, seed=1).softmax(dim=1)),
    "mse": (mse, (ROWS,), random(ROWS, seed=2)),
    "margin_mse": (
        lambda scores, labels, mask, **options: margin_mse(
            scores, labels, mask[:, None].expand(scores.shape), **options
        ),
        (ROWS, 3),
        random(ROWS, 2, seed=2),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_stays_finite(name: str, dtype: torch.dtype) -> None:
    function, shape, labels = FUNCTIONS[name]
    scores = (random(*shape) * 100).to(dtype)
    value, gradient = outcome(lambda leaf: function(leaf, labels, MASK), with_rubbish(scores, MASK))
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    torch.testing.assert_close(value, outcome(lambda leaf: function(leaf, labels, MASK), scores.float())[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_is_the_derivative(name: str) -> None:
    """Checked in float64, which the functions keep."""
    function, shape, labels = FUNCTIONS[name]
    scores = random(*shape, seed=4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: function(values, labels, MASK).value(), scores)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_that_counts_is_zero_with_a_gradient_path(name: str) -> None:
    """PyTorch's modules give NaN, which no later step mends."""
    function, shape, labels = FUNCTIONS[name]
    for rows in (ROWS, 0):
        mask = torch.zeros(rows, dtype=torch.bool)
        value, gradient = outcome(
            lambda leaf, mask=mask: function(leaf, labels[: len(mask)], mask), random(*shape)[:rows]
        )
        assert value == 0.0
        assert not gradient.any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_unknown_reduction_is_refused(name: str) -> None:
    function, shape, labels = FUNCTIONS[name]
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', but is 'median'"):
        function(random(*shape), labels, MASK, reduction="median")
