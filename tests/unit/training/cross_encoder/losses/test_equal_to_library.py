"""Value and gradient of every loss equal those of sentence-transformers 6.2 on the same scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sentence_transformers.cross_encoder import losses as library
from torch import Tensor, nn

from tests.unit.training.cross_encoder.losses.tables import (
    LibraryTable,
    Table,
    columns,
    lists,
    value_and_gradient,
)
from training.cross_encoder import losses

LENGTHS = [5, 1, 8, 3, 8]
OPTIONS = Callable[[Any], dict[str, Any]]


def assert_same(name: str, options: OPTIONS, scores: Tensor, inputs: Any, labels: Any) -> None:
    """Both libraries give the same value, gradient and report of options."""
    table, other = Table(scores), LibraryTable(scores)
    mine, theirs = getattr(losses, name)(table, **options(losses)), getattr(library, name)(other, **options(library))
    torch.manual_seed(7)
    value, gradient = value_and_gradient(mine, table.table, inputs, labels)
    torch.manual_seed(7)
    expected, expected_gradient = value_and_gradient(theirs, other.inner.table, inputs, labels)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-5)
    assert len(table.calls) == 1, "one forward for all pairs"
    if hasattr(theirs, "get_config_dict"):
        assert without_packages(mine.get_config_dict()) == without_packages(theirs.get_config_dict())
    if hasattr(theirs, "citation"):
        assert mine.citation.split() == theirs.citation.split()


def without_packages(config: dict[str, Any]) -> dict[str, Any]:
    """Class paths differ in their package only, so the class counts; no activation is reported as the identity."""
    names = {key: value.rpartition(".")[2] if isinstance(value, str) else value for key, value in config.items()}
    return {key: "Identity" if value == "NoneType" else value for key, value in names.items()}


def random_scores(*shape: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * spread


POINTWISE: list[tuple[str, OPTIONS]] = [
    ("BinaryCrossEntropyLoss", lambda _: {}),
    ("BinaryCrossEntropyLoss", lambda _: {"pos_weight": torch.tensor(4.0)}),
    ("BinaryCrossEntropyLoss", lambda _: {"activation_fn": nn.Tanh(), "reduction": "sum"}),
    ("BinaryCrossEntropyLoss", lambda _: {"weight": torch.arange(1.0, 7.0)}),
    ("MSELoss", lambda _: {}),
    ("MSELoss", lambda _: {"activation_fn": nn.Sigmoid(), "reduction": "sum"}),
]


@pytest.mark.parametrize(("name", "options"), POINTWISE)
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_losses_over_pairs_with_one_number_each(name: str, options: OPTIONS, shape: tuple[int, ...]) -> None:
    labels = torch.tensor([0.0, 1.0, 0.3, 1.0, 0.0, 0.9]).reshape(shape)
    assert_same(name, options, random_scores(6, 6, 1), columns(6, 1), labels)
    assert_same(name, options, random_scores(6, 6, 1), columns(6, 1), (labels > 0.5).long())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_fn": nn.Tanh()},
        {"weight": torch.tensor([1.0, 2.0, 0.5])},
        {"label_smoothing": 0.1, "ignore_index": 2},
        {"reduction": "sum"},
    ],
)
@pytest.mark.parametrize("kind", ["ids", "column of ids", "distributions"])
def test_cross_entropy_over_classes(options: dict[str, Any], kind: str) -> None:
    ids = torch.tensor([0, 2, 1, 1])
    soft = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])
    labels = {"ids": ids, "column of ids": ids[:, None], "distributions": soft}[kind]
    assert_same_unless_refused(options, kind, labels)


def assert_same_unless_refused(options: dict[str, Any], kind: str, labels: Tensor) -> None:
    if kind == "distributions" and "ignore_index" in options:
        options = {"label_smoothing": 0.1}  # torch refuses to ignore a class of a distribution
    assert_same("CrossEntropyLoss", lambda _: options, random_scores(4, 4, 3), columns(4, 1), labels)


@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize("kind", ["margins", "scores"])
@pytest.mark.parametrize("options", [{}, {"activation_fn": nn.Sigmoid()}, {"reduction": "sum"}])
def test_margin_mse(negatives: int, kind: str, options: dict[str, Any]) -> None:
    rows, width = 4, negatives + (kind == "scores")
    labels = list(random_scores(rows, width, seed=3))
    inputs = columns(rows, 1 + negatives)
    scores = random_scores(rows, rows * (1 + negatives), 1)
    assert_same("MarginMSELoss", lambda _: options, scores, inputs, labels)
    assert_same("MarginMSELoss", lambda _: options, scores, inputs, torch.stack(labels))
    if width == 1:
        assert_same("MarginMSELoss", lambda _: options, scores, inputs, torch.stack(labels)[:, 0])


@pytest.mark.parametrize("name", ["MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss"])
@pytest.mark.parametrize("text_columns", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_negatives": None},
        {"num_negatives": 2, "scale": 4.0},
        {"num_negatives": 1000},
        {"scale": None},
        {"activation_fn": nn.Tanh()},
    ],
)
@pytest.mark.parametrize("rows", [1, 6])
def test_multiple_negatives_draws_the_same_negatives(
    name: str, text_columns: int, options: dict[str, Any], rows: int
) -> None:
    scores = random_scores(rows, rows * text_columns, 1, spread=1.0)
    assert_same(name, lambda _: options, scores, columns(rows, text_columns), None)


def test_no_activation_in_multiple_negatives_ranking() -> None:
    options: OPTIONS = lambda _: {"activation_fn": None, "scale": 1.0}  # noqa: E731
    assert_same("MultipleNegativesRankingLoss", options, random_scores(5, 5, 1), columns(5, 1), None)


LISTWISE: list[tuple[str, OPTIONS]] = [
    ("LambdaLoss", lambda _: {}),
    ("LambdaLoss", lambda _: {"k": 3, "mini_batch_size": 4}),
    ("LambdaLoss", lambda _: {"weighting_scheme": None, "sigma": 0.5, "reduction_log": "natural"}),
    ("LambdaLoss", lambda lib: {"weighting_scheme": lib.NoWeightingScheme(), "k": 100}),
    ("LambdaLoss", lambda lib: {"weighting_scheme": lib.NDCGLoss1Scheme()}),
    ("LambdaLoss", lambda lib: {"weighting_scheme": lib.NDCGLoss1Scheme(), "k": 2}),
    ("LambdaLoss", lambda lib: {"weighting_scheme": lib.NDCGLoss2Scheme(), "k": 1}),
    ("LambdaLoss", lambda lib: {"weighting_scheme": lib.LambdaRankScheme(), "eps": 1.0}),
    ("LambdaLoss", lambda lib: {"weighting_scheme": lib.NDCGLoss2PPScheme(mu=3.0), "activation_fn": nn.Tanh()}),
    ("RankNetLoss", lambda _: {}),
    ("RankNetLoss", lambda _: {"k": 2, "sigma": 2.0, "eps": 1e-8, "reduction_log": "natural"}),
    ("RankNetLoss", lambda _: {"activation_fn": nn.Sigmoid(), "mini_batch_size": 0}),
    ("ListNetLoss", lambda _: {}),
    ("ListNetLoss", lambda _: {"activation_fn": nn.Sigmoid(), "mini_batch_size": -1}),
    ("ListMLELoss", lambda _: {}),
    ("ListMLELoss", lambda _: {"respect_input_order": False, "activation_fn": nn.Tanh(), "mini_batch_size": 3}),
    ("PListMLELoss", lambda _: {}),
    ("PListMLELoss", lambda _: {"lambda_weight": None}),
    ("PListMLELoss", lambda _: {"respect_input_order": False, "mini_batch_size": 3}),
    ("PListMLELoss", lambda lib: {"lambda_weight": lib.PListMLELambdaWeight(by_logarithm), "activation_fn": None}),
    ("ADRMSELoss", lambda _: {}),
    ("ADRMSELoss", lambda _: {"alpha": 2.5, "activation_fn": nn.Tanh(), "mini_batch_size": 3}),
]


def by_logarithm(mask: Tensor) -> Tensor:
    """The discount that the library's documentation gives as an example."""
    return (1.0 / torch.log1p(mask.cumsum(dim=-1))).masked_fill(~mask, 0)


LABELS: dict[str, Callable[[Tensor], Tensor]] = {
    "continuous": lambda noise: noise,
    "graded, with ties": lambda noise: (noise * 1.5).round().clamp(0, 3).long(),
    "binary": lambda noise: (noise > 0.8).float(),
    "all equal": lambda noise: torch.ones_like(noise),
}


@pytest.mark.parametrize(("name", "options"), LISTWISE)
@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("lengths", [LENGTHS, [4, 4], [1, 1], [6]], ids=str)
def test_listwise_losses_on_ragged_lists(name: str, options: OPTIONS, kind: str, lengths: list[int]) -> None:
    noise = random_scores(len(lengths), max(lengths), seed=5, spread=1.2)
    labels = [LABELS[kind](noise[i, :length]) for i, length in enumerate(lengths)]
    scores = random_scores(len(lengths), max(lengths), 1)
    assert_same(name, options, scores, lists(lengths), labels)
    assert_same(name, options, scores.round(), lists(lengths), labels)  # tied scores


@pytest.mark.parametrize("name", ["LambdaLoss", "RankNetLoss", "ListMLELoss", "PListMLELoss", "ADRMSELoss"])
def test_an_empty_list_is_a_masked_row(name: str) -> None:
    labels = [torch.tensor([2.0, 0.0, 1.0]), torch.tensor([]), torch.tensor([0.0, 1.0])]
    assert_same(name, lambda _: {}, random_scores(3, 3, 1), lists([3, 0, 2]), labels)


@pytest.mark.parametrize("size", [1, 20, 126, 127, 128, 300])
def test_weights_of_the_positions(size: int) -> None:
    mask = torch.arange(size)[None] < torch.tensor([[size], [max(1, size // 2)]])
    expected = library.PListMLELambdaWeight()(mask)
    torch.testing.assert_close(losses.PListMLELambdaWeight()(mask), expected, rtol=1e-5, atol=0.0)


def test_weights_of_the_lambda_schemes() -> None:
    gain, discount = torch.rand(3, 6), torch.log2(torch.arange(2.0, 8.0))[None]
    for name in ("NoWeightingScheme", "NDCGLoss1Scheme", "NDCGLoss2Scheme", "LambdaRankScheme", "NDCGLoss2PPScheme"):
        mine, theirs = getattr(losses, name)(), getattr(library, name)()
        torch.testing.assert_close(mine(gain, discount, gain), theirs(gain, discount, gain), rtol=1e-5, atol=1e-6)


def test_the_package_offers_every_name_of_the_library() -> None:
    assert set(library.__all__) <= set(losses.__all__)
    assert all(isinstance(getattr(losses, name), type) for name in losses.__all__)
