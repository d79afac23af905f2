"""Values worked by hand, above all where sentence-transformers 6.2 or an earlier release is wrong."""

from __future__ import annotations

import math

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
from training.cross_encoder.losses.adr_mse import soft_ranks, true_ranks
from training.cross_encoder.losses.lambda_loss import gains
from training.cross_encoder.losses.plist_mle import plackett_luce

LISTWISE = ["LambdaLoss", "RankNetLoss", "ListNetLoss", "ListMLELoss", "PListMLELoss", "ADRMSELoss"]


def log_sum_exp(*values: float) -> float:
    return math.log(sum(math.exp(value) for value in values))


def table(*rows: list[float]) -> Table:
    width = max(len(row) for row in rows)
    return Table(torch.tensor([row + [77.0] * (width - len(row)) for row in rows])[:, :, None])


def run(loss: nn.Module, model: Table, lengths: list[int], labels: list[list[float]]) -> tuple[float, Tensor]:
    value, gradient = value_and_gradient(loss, model.table, lists(lengths), [torch.tensor(row) for row in labels])
    return value.item(), gradient[:, :, 0]


def test_padding_has_no_part_in_list_mle_gradients_3827() -> None:
    """The shorter of two lists has the loss and gradient that it has alone (padding entered both before 5.5)."""
    model = table([1.0, 0.0, -1.0, 2.0], [0.5, -0.5])
    value, gradient = run(losses.ListMLELoss(model), model, [4, 2], [[3, 2, 1, 0], [1, 0]])
    long = sum((log_sum_exp(1, 0, -1, 2) - 1, log_sum_exp(0, -1, 2) - 0, log_sum_exp(-1, 2) + 1))
    short = log_sum_exp(0.5, -0.5) - 0.5
    assert value == pytest.approx((long + short) / 2, abs=1e-5)
    p = 1 / (1 + math.exp(-1.0))
    assert gradient[1].tolist() == pytest.approx([(p - 1) / 2, (1 - p) / 2, 0, 0], abs=1e-6)


@pytest.mark.parametrize("size", [127, 128, 129, 400, 1100])
def test_weights_of_long_lists_do_not_overflow_4012(size: int) -> None:
    """2^(n - 1) is infinite in float32 from n = 129; the normalised weights are about 1/2, 1/4, 1/8 ..."""
    mask = torch.ones(1, size, dtype=torch.bool)
    weights = losses.PListMLELambdaWeight()(mask)
    normalised = (weights / weights.sum()).tolist()[0]
    assert normalised[:3] == pytest.approx([0.5, 0.25, 0.125], rel=1e-5)
    model = Table(torch.randn(1, size, 1))
    value, gradient = run(losses.PListMLELoss(model), model, [size], [[0.0] * size])
    assert math.isfinite(value)
    assert gradient.isfinite().all()


def test_large_labels_do_not_overflow_the_lambda_loss() -> None:
    """6.2 gives nan for labels above 128, since 2^label is infinite; only the ratio of the gains matters."""
    labels = [torch.tensor([200.0, 199.0, 1.0])]
    other = LibraryTable(torch.zeros(1, 3, 1))
    assert value_and_gradient(library.LambdaLoss(other), other.inner.table, lists([3]), labels)[0].isnan()
    discount = torch.log2(torch.arange(2.0, 5.0))[None]
    best = 1 + 0.5 / math.log2(3)
    assert gains(labels[0][None], discount, None, 1e-10)[0].tolist() == pytest.approx([1 / best, 0.5 / best, 0.0])
    model = table([1.0, 2.0, 0.0])
    value, gradient = run(losses.LambdaLoss(model), model, [3], [labels[0].tolist()])
    assert math.isfinite(value)
    assert gradient.isfinite().all()


def test_an_empty_list_is_no_nan_in_list_net() -> None:
    """6.2 gives nan: the softmax over nothing. The empty list counts as a query with loss 0, as in its ListMLE."""
    labels = [[1.0, 0.0], []]
    other = LibraryTable(torch.tensor([[0.3, 0.1], [0.0, 0.0]])[:, :, None])
    as_tensors = [torch.tensor(row) for row in labels]
    assert value_and_gradient(library.ListNetLoss(other), other.inner.table, lists([2, 0]), as_tensors)[0].isnan()
    model = table([0.3, 0.1], [])
    target = 1 / (1 + math.exp(-1.0))
    whole = log_sum_exp(0.3, 0.1) - (target * 0.3 + (1 - target) * 0.1)
    assert run(losses.ListNetLoss(model), model, [2, 0], labels)[0] == pytest.approx(whole / 2, abs=1e-6)


@pytest.mark.parametrize(
    "name", ["LambdaLoss", "RankNetLoss", "ListNetLoss", "ListMLELoss", "PListMLELoss", "ADRMSELoss"]
)
@pytest.mark.parametrize("lengths", [[], [0, 0]], ids=str)
def test_a_batch_without_documents_still_calls_the_model(name: str, lengths: list[int]) -> None:
    """6.2 raises on joining no scores. Under distributed training the other processes wait for this one's gradient."""
    model = table([1.0, 2.0])
    value, gradient = run(getattr(losses, name)(model), model, lengths, [[] for _ in lengths])
    assert value == 0.0
    assert not gradient.any()
    assert len(model.calls) == 1


@pytest.mark.parametrize("name", ["BinaryCrossEntropyLoss", "MSELoss", "CrossEntropyLoss"])
def test_an_empty_batch_of_pairs_is_zero(name: str) -> None:
    """6.2 gives nan, the mean of nothing, and so spoils the gradients of all processes."""
    model = Table(torch.ones(1, 1, 3 if name == "CrossEntropyLoss" else 1))
    labels = torch.zeros(0, dtype=torch.long)
    value, gradient = value_and_gradient(getattr(losses, name)(model), model.table, [[], []], labels)
    assert value == 0.0
    assert not gradient.any()


def test_an_empty_batch_of_tuples_is_zero() -> None:
    model = table([1.0])
    for loss, labels in (
        (losses.MarginMSELoss(model), torch.zeros(0)),
        (losses.MultipleNegativesRankingLoss(model), None),
    ):
        value, gradient = value_and_gradient(loss, model.table, [[], [], []], labels)
        assert value == 0.0
        assert not gradient.any()


def test_lists_of_one_document_keep_their_gradient_path() -> None:
    """6.2 returns a constant for a batch without loss, so the model gets no gradient and other processes hang."""
    model = table([1.0], [2.0])
    value = losses.PListMLELoss(model)(lists([1, 1]), [torch.tensor([1.0]), torch.tensor([0.0])])
    assert value == 0.0
    value.backward()
    assert model.table.grad is not None


def test_a_custom_discount_need_not_zero_the_padding() -> None:
    """In 6.2 weights on padding enter the normalisation; here a list weighs the same alone and in a batch."""
    discount = losses.PListMLELambdaWeight(lambda mask: 1.0 / torch.arange(1.0, mask.shape[1] + 1).expand_as(mask))
    model = table([1.0, 0.0], [2.0, 1.0, 0.0, 0.0])
    loss = losses.PListMLELoss(model, lambda_weight=discount)
    alone, _ = run(loss, model, [2, 0], [[1, 0], []])
    first = log_sum_exp(1.0, 0.0) - 1.0
    assert alone * 2 == pytest.approx(first * 1 / 1.5, abs=1e-6)
    _, gradient = run(loss, model, [2, 0], [[1, 0], []])
    _, together = run(loss, model, [2, 4], [[1, 0], [3, 2, 1, 0]])
    torch.testing.assert_close(together[0], gradient[0])


def test_bfloat16_scores_of_multiple_negatives_ranking_are_computed_in_float32() -> None:
    """6.2 stays in bfloat16, whose loss has two or three digits."""
    scores = torch.randn(6, 6, 1, generator=torch.Generator().manual_seed(0)).bfloat16()
    model, exact = Table(scores), Table(scores.float())
    values = [
        losses.MultipleNegativesRankingLoss(each, num_negatives=None)(columns(6, 1), None) for each in (model, exact)
    ]
    assert values[0].dtype == torch.float32
    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize("name", ["BinaryCrossEntropyLoss", "MSELoss"])
def test_bfloat16_scores_of_pairs_are_computed_in_float32(name: str) -> None:
    scores, labels = torch.randn(4, 4, 1).bfloat16(), torch.tensor([1.0, 0.3, 0.0, 1.0])
    values = [getattr(losses, name)(Table(each))(columns(4, 1), labels) for each in (scores, scores.float())]
    torch.testing.assert_close(values[0], values[1])


def test_rank_net_of_two_documents() -> None:
    model = table([2.0, -1.0])
    natural = losses.RankNetLoss(model, reduction_log="natural")
    assert run(natural, model, [2], [[0.0, 1.0]])[0] == pytest.approx(math.log(1 + math.exp(3.0)), abs=1e-5)
    binary = run(losses.RankNetLoss(model), model, [2], [[0.0, 1.0]])[0]
    assert binary == pytest.approx(math.log2(1 + math.exp(3.0)), abs=1e-5)


def test_lambda_rank_of_two_documents() -> None:
    """Gain 1 for the relevant document, ranked second: the pair weighs 1 - 1/log2(3)."""
    model = table([2.0, -1.0])
    loss = losses.LambdaLoss(model, weighting_scheme=losses.LambdaRankScheme(), reduction_log="natural")
    expected = (1 - 1 / math.log2(3)) * math.log(1 + math.exp(3.0))
    assert run(loss, model, [2], [[0.0, 1.0]])[0] == pytest.approx(expected, abs=1e-5)


def test_equal_scores_are_ranked_in_the_order_of_the_input() -> None:
    """A sort that is not stable gives another NDCG weight from run to run on an accelerator."""
    model = table([1.0] * 40)
    labels = [[1.0] + [0.0] * 39]
    loss = losses.LambdaLoss(model, weighting_scheme=losses.NDCGLoss1Scheme(), reduction_log="natural", k=1)
    assert run(loss, model, [40], labels)[0] == pytest.approx(40 / 79 * math.log(2), abs=1e-5)


def test_ranks_of_adr_mse() -> None:
    mask = torch.tensor([[True, True, True, False]])
    assert true_ranks(torch.tensor([[1.0, 2.0, 1.0, 9.0]]), mask)[0, :3].tolist() == [2.5, 1.0, 2.5]
    ranks = soft_ranks(torch.tensor([[0.0, 100.0, 0.0, 500.0]]), mask)[0, :3]
    assert ranks.tolist() == pytest.approx([2.5, 1.0, 2.5])


def test_plackett_luce_of_scores_far_apart() -> None:
    """The logarithms are of sums of exponentials that neither overflow nor vanish."""
    scores = torch.tensor([[1e4, -1e4, 0.0]])
    logs = plackett_luce(scores, torch.ones(1, 3, dtype=torch.bool))
    assert logs[0].tolist() == pytest.approx([0.0, -1e4, 0.0])
