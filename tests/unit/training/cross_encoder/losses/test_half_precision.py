"""Scores in half precision: every loss is computed in float32, and its value and gradient are finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.training.cross_encoder.losses.tables import Table, value_and_gradient
from tests.unit.training.cross_encoder.losses.test_contract import ALL, example, spelled
from training.cross_encoder import CrossEncoder, losses

SPREAD = 60.0
"""Of the scores: an exponential of it overflows half precision."""


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_give_the_finite_loss_of_the_same_scores_in_float32(
    name: str, dtype: torch.dtype
) -> None:
    outputs = 3 if name == "CrossEntropyLoss" else 1
    scores = (torch.randn(8, 32, outputs, generator=torch.Generator().manual_seed(0)) * SPREAD).to(dtype)
    found = []
    for each in (scores, scores.float()):
        loss = getattr(losses, name)(Table(each))
        torch.manual_seed(7)
        found.append(value_and_gradient(loss, loss.model.table, *example(name)))
    (value, gradient), (exact, exact_gradient) = found
    assert value.dtype == torch.float32
    assert value.isfinite()
    torch.testing.assert_close(value, exact)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient.float(), exact_gradient.to(dtype).float())


@pytest.mark.parametrize("name", ALL)
def test_a_bfloat16_model_learns_finite_gradients_also_in_parts(name: str, reranker_dir: Path) -> None:
    """With gradient caching, which hands scores and their gradients from pass to pass."""
    inputs, labels = example(name)
    inputs = [[spelled(value) for value in column] for column in inputs]
    model = CrossEncoder(
        str(reranker_dir),
        device="cpu",
        num_labels=3 if name == "CrossEntropyLoss" else 1,
        model_kwargs={"dtype": torch.bfloat16, "ignore_mismatched_sizes": True},
    )
    value = getattr(losses, name)(model, mini_batch_tokens=24)(inputs, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.dtype == torch.bfloat16 and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)
