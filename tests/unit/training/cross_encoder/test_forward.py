"""Packed and padded scoring of rows against the forward pass of transformers."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedModel

from app.model.packed.select import network_of
from app.model.types import Encoded
from tests.unit.training.cross_encoder.forward_models import (
    FAMILIES,
    SIZES,
    VOCABULARY,
    build,
    distance,
    gradients,
    padding_of,
    rows_of,
    without_dropout,
)
from training.cross_encoder.forward import mini_batches, score_rows
from training.cross_encoder.packed.chunks import cut_chunks, suited_tokens
from training.cross_encoder.padded import PaddedScorer, pad_rows

LENGTHS = [5, 61, 7, 33, 61, 3, 24, 90, 12, 61, 24]
TOLERANCE = 1e-5


def reference(model: PreTrainedModel, rows: list[Encoded]) -> Tensor:
    """One padded batch through the model itself."""
    logits: Tensor = model(**pad_rows(rows, padding_of(model))).logits
    return logits


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """One model per architecture, without dropout, in training mode."""
    made = build(request.param)
    without_dropout(made)
    return made.train()


def test_packed_scores_and_gradients_are_those_of_the_padded_batch(model: PreTrainedModel) -> None:
    """Whatever the chunks: all rows in one, some per chunk, one row per chunk."""
    rows = rows_of(LENGTHS)
    assert network_of(model) is not None
    scores, gradient = gradients(model, lambda: reference(model, rows))
    for chunk_tokens in (1024, 130, 1):
        ours, own = gradients(
            model, lambda budget=chunk_tokens: score_rows(model, rows, pad=padding_of(model), chunk_tokens=budget)
        )
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, scores, rtol=TOLERANCE, atol=TOLERANCE)
        assert distance(own, gradient) < TOLERANCE


@settings(max_examples=15)
@given(lengths=st.lists(st.integers(3, 60), min_size=1, max_size=12), budget=st.integers(1, 200))
def test_a_score_does_not_depend_on_the_batch(model: PreTrainedModel, lengths: list[int], budget: int) -> None:
    """Any lengths in any order and any chunk size: each row scores as it does alone."""
    rows = rows_of(lengths)
    with torch.inference_mode():
        ours = score_rows(model, rows, pad=padding_of(model), chunk_tokens=budget)
        alone = torch.cat([reference(model, [row]) for row in rows])
    torch.testing.assert_close(ours, alone, rtol=TOLERANCE, atol=TOLERANCE)


def test_evaluation_mode_drops_nothing(model: PreTrainedModel) -> None:
    """Dropout rates do not matter in evaluation mode, and two passes agree bit for bit."""
    fresh = build("bert", hidden_dropout_prob=0.9, attention_probs_dropout_prob=0.9)
    rows = rows_of(LENGTHS)
    first, second = (score_rows(fresh, rows, pad=padding_of(fresh)) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, reference(fresh, rows), rtol=TOLERANCE, atol=TOLERANCE)


def test_padding_tokens_inside_a_text_count_as_transformers_counts_them() -> None:
    """RoBERTa gives them no position of their own."""
    roberta = build("roberta")
    rows = rows_of([12, 20, 7])
    rows[1].ids[[3, 4, 9]] = 1
    torch.testing.assert_close(
        score_rows(roberta, rows, pad=padding_of(roberta)), reference(roberta, rows), rtol=TOLERANCE, atol=TOLERANCE
    )


def test_frozen_parameters_get_no_gradient() -> None:
    """Freezing the embeddings and a layer leaves the other gradients as they were."""
    bert = build("bert")
    for part in (bert.bert.embeddings, bert.bert.encoder.layer[0]):
        part.requires_grad_(False)
    rows = rows_of(LENGTHS)
    _, expected = gradients(bert, lambda: reference(bert, rows))
    _, own = gradients(bert, lambda: score_rows(bert, rows, pad=padding_of(bert), chunk_tokens=100))
    assert distance(own, expected) < TOLERANCE
    assert bert.bert.embeddings.word_embeddings.weight.grad is None


def test_a_model_of_one_layer_and_one_label() -> None:
    """The last layer is the first, too."""
    bert = build("bert", num_hidden_layers=1, num_labels=1)
    rows = rows_of(LENGTHS)
    ours = score_rows(bert, rows, pad=padding_of(bert))
    assert ours.shape == (len(rows), 1)
    torch.testing.assert_close(ours, reference(bert, rows), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_may_stand_in_several_places(family: str) -> None:
    """Layers that are shared were all taken for the last one, and the pass failed."""
    model = build(family)
    without_dropout(model)
    encoder = getattr(model, model.base_model_prefix)
    layers = encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layer
    layers[1] = layers[2]
    assert network_of(model) is not None
    rows = rows_of(LENGTHS)
    scores, expected = gradients(model, lambda: reference(model, rows))
    ours, own = gradients(model, lambda: score_rows(model, rows, pad=padding_of(model), chunk_tokens=100))
    torch.testing.assert_close(ours, scores, rtol=TOLERANCE, atol=TOLERANCE)
    assert distance(own, expected) < TOLERANCE


def test_no_rows_give_no_scores() -> None:
    """The shape still tells the number of labels."""
    bert = build("bert")
    assert score_rows(bert, [], pad=padding_of(bert)).shape == (0, 2)


def test_other_architectures_run_padded_with_the_same_gradient() -> None:
    """DistilBERT has no type ids, which its forward pass would refuse."""
    sizes: dict[str, Any] = {"dim": 32, "hidden_dim": 48, "n_heads": 4, "n_layers": 2, "vocab_size": VOCABULARY}
    distil = DistilBertForSequenceClassification(DistilBertConfig(**sizes, num_labels=2, pad_token_id=0)).eval()
    assert network_of(distil) is None
    rows = rows_of(LENGTHS)
    scores, expected = gradients(distil, lambda: reference(distil, rows))
    for limits in ({"chunk_tokens": 100}, {"mini_batch_tokens": 100}):
        ours, own = gradients(distil, lambda limits=limits: score_rows(distil, rows, pad=padding_of(distil), **limits))
        torch.testing.assert_close(ours, scores, rtol=TOLERANCE, atol=TOLERANCE)
        assert distance(own, expected) < TOLERANCE


def _hook(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[0].register_forward_hook(lambda module, inputs, output: output)


def _pre_hook(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[1].attention.self.query.register_forward_pre_hook(lambda module, inputs: None)


def _replaced_layer(model: PreTrainedModel) -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, value: Tensor) -> Tensor:
            return 2 * super().forward(value)

    model.bert.encoder.layer[0].output.dense = Doubled(SIZES["intermediate_size"], SIZES["hidden_size"])


def _replaced_forward(model: PreTrainedModel) -> None:
    inner = model.bert.encoder.layer[0].output.dense
    inner.forward = lambda value: 2 * torch.nn.functional.linear(value, inner.weight, inner.bias)


def _bias_in_part(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[0].attention.self.query.bias = None


def _bias_in_another_part(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[0].attention.self.value.bias = None


def _other_scaling(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[0].attention.self.scaling = 1.0


def _other_pooling(model: PreTrainedModel) -> None:
    model.bert.pooler.activation = torch.nn.GELU()


def _norm_for_dropout(model: PreTrainedModel) -> None:
    model.dropout = torch.nn.LayerNorm(model.config.hidden_size)


def _no_norm(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[0].output.LayerNorm = torch.nn.Identity()


def _patched_forward(model: PreTrainedModel) -> None:
    inner = model.forward
    model.forward = functools.wraps(inner)(lambda *args, **kwargs: doubled(inner(*args, **kwargs)))


def doubled(output: Any) -> Any:
    """With logits twice as large."""
    output.logits = 2 * output.logits
    return output


def _weight_norm(model: PreTrainedModel) -> None:
    torch.nn.utils.parametrizations.weight_norm(model.bert.encoder.layer[0].intermediate.dense)


def _adapter(model: PreTrainedModel) -> None:
    from peft import LoraConfig

    model.add_adapter(LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False))


CHANGES = [
    _hook,
    _pre_hook,
    _replaced_layer,
    _replaced_forward,
    _patched_forward,
    _bias_in_part,
    _bias_in_another_part,
    _other_scaling,
    _other_pooling,
    _norm_for_dropout,
    _no_norm,
    _weight_norm,
    _adapter,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_put_into_a_model_takes_effect(change: Any) -> None:
    """A model that is not plain any more is run by its own forward pass."""
    bert = build("bert")
    assert network_of(bert) is not None
    change(bert)
    bert.eval()
    assert network_of(bert) is None
    rows = rows_of(LENGTHS)
    torch.testing.assert_close(
        score_rows(bert, rows, pad=padding_of(bert), chunk_tokens=100),
        reference(bert, rows),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )


def test_a_forward_pass_patched_in_the_class_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed pass went on without it."""
    bert = build("bert")
    inner = type(bert).forward
    monkeypatch.setattr(
        type(bert), "forward", functools.wraps(inner)(lambda *args, **kwargs: doubled(inner(*args, **kwargs)))
    )
    rows = rows_of(LENGTHS)
    found = score_rows(bert, rows, pad=padding_of(bert), chunk_tokens=100)
    torch.testing.assert_close(found, reference(bert, rows), rtol=TOLERANCE, atol=TOLERANCE)


def test_a_decoder_is_left_to_the_model() -> None:
    """BERT can be built causal."""
    assert network_of(build("bert", is_decoder=True)) is None


def test_gradient_checkpointing_is_left_to_the_model() -> None:
    """It recomputes its layers itself."""
    bert = build("bert").train()
    without_dropout(bert)
    rows = rows_of(LENGTHS)
    _, expected = gradients(bert, lambda: reference(bert, rows))
    enable = getattr(bert, "activation_checkpointing_enable", None) or bert.gradient_checkpointing_enable
    enable()
    assert network_of(bert) is None
    _, own = gradients(bert, lambda: score_rows(bert, rows, pad=padding_of(bert), chunk_tokens=100))
    assert distance(own, expected) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_autocast_is_as_close_as_that_of_transformers(family: str) -> None:
    """Scores in float32, gradients in the parameters' float32, both finite; error at most double."""
    made = build(family, initializer_range=0.1)
    rows = rows_of(LENGTHS)
    scores, gradient = gradients(made, lambda: reference(made, rows))
    with torch.autocast("cpu", torch.bfloat16):
        theirs = gradients(made, lambda: reference(made, rows).float())
        ours = gradients(made, lambda: score_rows(made, rows, pad=padding_of(made), chunk_tokens=130))
    assert ours[0].dtype == ours[1].dtype == torch.float32
    assert ours[1].isfinite().all()
    assert distance(ours[0], scores) < max(2 * distance(theirs[0], scores), 0.01)
    assert distance(ours[1], gradient) < max(2 * distance(theirs[1], gradient), 0.02)


def test_a_model_in_bfloat16_scores_in_float32() -> None:
    """Weights in half precision without autocast."""
    bert = build("bert", initializer_range=0.1)
    rows = rows_of(LENGTHS)
    expected = reference(bert, rows)
    ours = score_rows(bert.to(torch.bfloat16), rows, pad=padding_of(bert))
    assert ours.dtype == torch.float32
    assert distance(ours.detach(), expected.detach()) < 0.03


@given(lengths=st.lists(st.integers(1, 50)), budget=st.integers(1, 120))
def test_chunks_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    """Only a row that is longer than the budget exceeds it, alone."""
    chunks = cut_chunks(lengths, budget)
    assert [i for chunk in chunks for i in chunk] == list(range(len(lengths)))
    assert all(len(chunk) == 1 or sum(lengths[i] for i in chunk) <= budget for chunk in chunks)


@given(lengths=st.lists(st.integers(1, 50), min_size=1), budget=st.integers(1, 300))
def test_mini_batches_are_made_of_whole_chunks(lengths: list[int], budget: int) -> None:
    """In order, and within their budget as far as the chunks are."""
    rows = rows_of(sorted(lengths, reverse=True))
    chunks = [[rows[i] for i in span] for span in cut_chunks([len(row) for row in rows], 60)]
    parts = mini_batches(chunks, budget)
    assert [chunk for part in parts for chunk in part] == chunks
    assert all(len(part) == 1 or sum(len(row) for chunk in part for row in chunk) <= budget for part in parts)


def test_padding_on_the_left() -> None:
    """For tokenizers that pad there, the ids stand at the right edge and the mask with them."""
    rows = rows_of([3, 5])
    inputs = pad_rows(rows, padding_of(build("bert")).__class__(9, True, "left"))
    assert inputs["input_ids"][0].tolist() == [9, 9, *rows[0].ids.tolist()]
    assert inputs["attention_mask"].sum(1).tolist() == [3, 5]
    assert inputs["token_type_ids"][0].tolist() == [0, 0, 0, 0, 1]


def test_padded_chunks_stay_near_their_budget() -> None:
    """Rows of similar length share a batch; the padding counts."""
    lengths = sorted(LENGTHS, reverse=True)
    spans = PaddedScorer(build("bert")).cut(lengths, 150)
    assert [i for span in spans for i in span] == list(range(len(lengths)))
    assert all(len(span) == 1 or lengths[span[0]] * len(span) <= 150 for span in spans)


def test_chunks_hold_more_tokens_in_half_precision() -> None:
    """That of autocast included."""
    model = build("bert")
    assert suited_tokens(model) == 1536
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert suited_tokens(model) == 2048
    assert suited_tokens(model.bfloat16()) == 2048
