"""Weights rounded for the inputs that they are multiplied by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.model.vnni.weights import quantised
from training.graphs.rounding import input_moments, rounded

OUTPUTS, INPUTS = 24, 256


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(OUTPUTS, INPUTS)).astype(np.float32)


def test_inputs_that_have_nothing_to_do_with_each_other_leave_plain_rounding(weight: np.ndarray) -> None:
    integers, scales = rounded(weight, 8, np.eye(INPUTS))
    plain, plain_scales = quantised(weight, 8)
    np.testing.assert_allclose(scales, plain_scales, rtol=1e-6)
    assert (integers != plain).mean() < 1e-3, "but for ties"
    assert (integers.dtype, scales.dtype) == (np.int8, np.float32)


def test_products_with_inputs_that_go_together_change_less(weight: np.ndarray) -> None:
    """A tenth of the directions hold nearly all there is."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, INPUTS // 10)) @ rng.normal(size=(INPUTS // 10, INPUTS)) + rng.normal(
        size=(4000, INPUTS)
    )

    def off(integers: np.ndarray, scales: np.ndarray) -> float:
        missed = integers * np.repeat(scales, INPUTS // scales.shape[1], axis=1) - weight
        return float(np.square(x[2000:] @ missed.T).mean())

    seen = x[:2000]
    assert off(*rounded(weight, 8, seen.T @ seen)) < 0.2 * off(*quantised(weight, 8))


@pytest.mark.parametrize("count", [0, 1])
def test_few_inputs_are_enough_to_go_on(weight: np.ndarray, count: int) -> None:
    """Directions that no input shows are rounded as they come."""
    x = np.ones((count, INPUTS))
    integers, scales = rounded(weight, 8, x.T @ x)
    steps = np.repeat(scales, INPUTS // scales.shape[1], axis=1)
    assert np.isfinite(scales).all()
    assert np.abs(integers * steps - weight).max() < 3 * steps.max()


def test_moments_are_of_all_inputs_of_a_layer() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

    def call(rows: torch.Tensor) -> torch.Tensor:
        return model(rows)  # type: ignore[no-any-return]

    batches = [{"rows": np.random.default_rng(i).normal(size=(1, 5, 3)).astype(np.float32)} for i in range(2)]
    found = input_moments(call, {"first": model[0], "second": model[2]}, batches)  # type: ignore[arg-type]
    rows = np.concatenate([batch["rows"][0] for batch in batches]).astype(float)
    np.testing.assert_allclose(found["first"], rows.T @ rows, rtol=1e-5)
    assert found["second"].shape == (4, 4)
    assert not model[0]._forward_pre_hooks, "nothing is left behind"
