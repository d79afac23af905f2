"""Hidden states of rows without padding against the forward pass of transformers' encoders."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DistilBertConfig, DistilBertModel, PreTrainedModel

from app.model.types import Encoded
from tests.unit.training.cross_encoder.forward_models import (
    SIZES,
    build,
    distance,
    gradients,
    padding_of,
    rows_of,
    without_dropout,
)
from training.cross_encoder.packed.scorer import PackedEncoder, PackedScorer
from training.cross_encoder.padded import pad_rows

LENGTHS = [90, 61, 61, 33, 24, 24, 12, 7, 5, 3]


def encoder_of(family: str) -> Any:
    """The encoder inside a classifier."""
    return build(family).base_model


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta", "modernbert"])
def encoder(request: pytest.FixtureRequest) -> Any:
    """One encoder per architecture, without dropout, in training mode."""
    made = encoder_of(request.param)
    without_dropout(made)
    return made.train()


def reference(model: PreTrainedModel, rows: list[Encoded]) -> Tensor:
    """The states of all tokens, row after row, from one padded batch."""
    inputs = pad_rows(rows, padding_of(model))
    states: Tensor = model(**inputs).last_hidden_state
    return states[inputs["attention_mask"].bool()]


def packed(model: PreTrainedModel, rows: list[Encoded], budget: int, every_token: bool = True) -> Tensor:
    """The same from chunks of `budget` tokens."""
    passes = PackedEncoder.of(model)
    assert passes is not None
    chunks = [rows[span.start : span.stop] for span in passes.cut([len(row) for row in rows], budget)]
    return torch.cat(list(passes.states(chunks, padding_of(model), every_token=every_token)))


@pytest.mark.parametrize("budget", [1024, 130, 1])
def test_states_and_gradients_are_those_of_the_padded_batch(encoder: PreTrainedModel, budget: int) -> None:
    rows = rows_of(LENGTHS)
    states, gradient = gradients(encoder, lambda: reference(encoder, rows))
    ours, own = gradients(encoder, lambda: packed(encoder, rows, budget))
    torch.testing.assert_close(ours, states, rtol=1e-5, atol=1e-5)
    assert distance(own, gradient) < 1e-5


def test_the_first_tokens_alone(encoder: PreTrainedModel) -> None:
    rows = rows_of(LENGTHS)
    starts = torch.tensor([0, *LENGTHS[:-1]]).cumsum(0)
    with torch.no_grad():
        expected = reference(encoder, rows)[starts]
        torch.testing.assert_close(packed(encoder, rows, 130, every_token=False), expected, rtol=1e-5, atol=1e-5)


def test_the_filling_of_half_precision_stays_out() -> None:
    """Chunks are filled up to a multiple of 128 tokens and 16 rows there."""
    model = encoder_of("bert").to(torch.bfloat16)
    rows = rows_of(LENGTHS)
    with torch.no_grad():
        expected = reference(model.float(), rows)
        model.to(torch.bfloat16)
        found, first = packed(model, rows, 130), packed(model, rows, 130, every_token=False)
    assert found.shape == expected.shape
    assert found.dtype == torch.bfloat16
    assert first.shape == (len(rows), SIZES["hidden_size"])
    ends = [0, *torch.tensor(LENGTHS).cumsum(0).tolist()]
    for start, end in pairwise(ends):
        assert distance(found[start:end].float(), expected[start:end]) < 0.05


def test_autocast_holds_for_the_states_and_not_for_their_reader() -> None:
    model = encoder_of("bert")
    passes = PackedEncoder.of(model)
    assert passes is not None
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for states in passes.states([rows_of([5]), rows_of([4])], padding_of(model), every_token=True):
            assert states.dtype == torch.float32
            assert torch.is_autocast_enabled("cpu")


def test_a_classifier_is_no_encoder_and_the_other_way_round() -> None:
    classifier = build("bert")
    assert PackedEncoder.of(classifier) is None
    assert PackedScorer.of(encoder_of("bert")) is None
    assert PackedScorer.of(classifier) is not None
    assert PackedEncoder.of(DistilBertModel(DistilBertConfig(n_layers=1, dim=8, n_heads=2, hidden_dim=8))) is None
