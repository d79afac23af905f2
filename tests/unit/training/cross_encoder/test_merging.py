"""Models merged from fine-tunes of one ancestor, beside what sentence-transformers makes of the same directories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder as Oracle

from training import CrossEncoder

PAIRS = [("what is a merge", "one model out of several"), ("who", "nobody in particular")]


def fine_tune(ancestor: Path, seed: int) -> CrossEncoder:
    """A stand-in for a fine-tune: the ancestor and a little noise."""
    model = CrossEncoder(ancestor, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def saved(reranker_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three fine-tunes of one model, saved."""
    root = tmp_path_factory.mktemp("fine-tunes")
    for i in range(3):
        fine_tune(reranker_dir, i).save(str(root / str(i)), create_model_card=False)
    return [str(root / str(i)) for i in range(3)]


METHODS: list[tuple[str, int, dict[str, Any]]] = [
    ("linear", 3, {}),
    ("linear", 3, {"weight": [0.5, 0.3, 0.2]}),
    ("linear", 2, {"weight": [0.5, 0.3], "normalize": False}),
    ("slerp", 2, {}),
    ("slerp", 2, {"t": 0.2}),
    ("nuslerp", 2, {"weight": [0.7, 0.3]}),
    ("task_arithmetic", 3, {"weight": [0.6, 0.9, 0.4]}),
    ("ties", 3, {"density": 0.4}),
    ("dare_ties", 3, {"density": 0.5}),
    ("model_stock", 3, {}),
]


@pytest.mark.parametrize(("method", "count", "parameters"), METHODS)
def test_every_method_gives_the_weights_of_the_established_library(
    saved: list[str], reranker_dir: Path, method: str, count: int, parameters: dict[str, Any]
) -> None:
    given: dict[str, Any] = {"parameters": parameters}
    if method in {"task_arithmetic", "ties", "dare_ties", "model_stock"}:
        given["base_model"] = str(reranker_dir)
    torch.manual_seed(0)
    merged = CrossEncoder.merge(saved[:count], method, **given)
    torch.manual_seed(0)
    expected = Oracle.merge(saved[:count], method, **given)
    names = dict(expected.named_parameters())
    for name, parameter in merged.named_parameters():
        torch.testing.assert_close(parameter, names[f"0.{name}"], msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(merged.predict(PAIRS), expected.predict(PAIRS))
    changed = CrossEncoder(saved[0], device="cpu").predict(PAIRS)
    assert abs(merged.predict(PAIRS) - changed).max() > 1e-4


def test_averages_need_no_mergekit_and_other_methods_name_the_extra(
    saved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mergekit.merge_methods", None)
    first, second = (CrossEncoder(path, device="cpu") for path in saved[:2])
    merged = CrossEncoder.merge([first, second], parameters={"weight": [3, 1]})
    for one, other, found in zip(first.parameters(), second.parameters(), merged.parameters(), strict=True):
        torch.testing.assert_close(found, 0.75 * one + 0.25 * other)
    with pytest.raises(ImportError, match=r"crossrank\[merge\]"):
        CrossEncoder.merge([first, second], "slerp")


def test_an_ancestor_among_the_models_is_counted_once(saved: list[str]) -> None:
    """ "slerp" from the second model to the first, by path and by the very model."""
    backwards = CrossEncoder.merge(saved[:2], "slerp", base_model=saved[1], parameters={"t": 0.2})
    models = [CrossEncoder(path, device="cpu") for path in saved[:2]]
    again = CrossEncoder.merge(models, "slerp", base_model=models[1], parameters={"t": 0.2})
    forwards = CrossEncoder.merge(saved[:2], "slerp", parameters={"t": 0.8})
    for one, other, third in zip(backwards.parameters(), again.parameters(), forwards.parameters(), strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, third, atol=1e-4, rtol=1e-3)


def test_inputs_stay_as_they_are_and_types_are_as_wished(saved: list[str], tmp_path: Path) -> None:
    models = [CrossEncoder(path, device="cpu") for path in saved[:2]]
    before = [parameter.detach().clone() for parameter in models[0].parameters()]
    merged = CrossEncoder.merge(models, out_dtype="float16")
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.float16}
    assert not merged.training
    half = [CrossEncoder(path, device="cpu", model_kwargs={"dtype": torch.bfloat16}) for path in saved[:2]]
    assert CrossEncoder.merge(half).dtype == torch.float32
    assert CrossEncoder.merge(half, dtype=None).dtype == torch.bfloat16
    for one, other in zip(before, models[0].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    CrossEncoder.merge(models).save(str(tmp_path / "merged"))
    again = CrossEncoder(str(tmp_path / "merged"), device="cpu")
    torch.testing.assert_close(again.predict(PAIRS), CrossEncoder.merge(models).predict(PAIRS))


def test_the_card_says_nothing_of_one_models_training(saved: list[str]) -> None:
    models = [CrossEncoder(path, device="cpu") for path in saved[:2]]
    models[0].model_card_data.model_name = "the first alone"
    card = CrossEncoder.merge(models).model_card_data
    assert (models[0].model_card_data.model_name, card.model_name) == ("the first alone", None)
    assert card.model is not models[0]


def test_tied_weights_stay_tied(saved: list[str]) -> None:
    models = [CrossEncoder(path, device="cpu") for path in saved[:2]]
    for model in models:
        embeddings = model.model.bert.embeddings
        embeddings.tied = embeddings.word_embeddings.weight
    merged = CrossEncoder.merge(models)
    assert merged.model.bert.embeddings.tied is merged.model.bert.embeddings.word_embeddings.weight


def test_wrong_calls_say_what_is_wrong(saved: list[str], reranker_dir: Path) -> None:
    first = CrossEncoder(saved[0], device="cpu")
    with pytest.raises(ValueError, match="at least two"):
        CrossEncoder.merge([first])
    with pytest.raises(ValueError, match="at least two"):
        CrossEncoder.merge(saved[0])  # type: ignore[arg-type]
    for setting, value in {"num_attention_heads": 4, "hidden_act": "relu"}.items():
        odd = CrossEncoder(saved[1], device="cpu", config_kwargs={setting: value})
        with pytest.raises(ValueError, match=rf"model 1 .* configuration \({setting}\)"):
            CrossEncoder.merge([first, odd])
    bare = CrossEncoder(saved[1], device="cpu")
    bare.model.dropout = torch.nn.Identity()
    with pytest.raises(ValueError, match="other modules"):
        CrossEncoder.merge([first, bare])
    with pytest.raises(TypeError, match="not BertForSequenceClassification"):
        CrossEncoder.merge([first, bare.model])
    with pytest.raises(ValueError, match="2 weights for 3 models"):
        CrossEncoder.merge(saved, parameters={"weight": [1, 2]})
    with pytest.raises(ValueError, match="out_dtype='int8'"):
        CrossEncoder.merge(saved, out_dtype="int8")
    with pytest.raises(ValueError, match="no use for a base_model"):
        CrossEncoder.merge(saved[:2], "linear", base_model=str(reranker_dir))
    other = CrossEncoder(saved[1], device="cpu")
    other.tokenizer.add_tokens(["merged"])
    with pytest.raises(ValueError, match="other tokens"):
        CrossEncoder.merge([first, other])


def test_an_adapter_has_to_be_merged_into_its_model_first(saved: list[str]) -> None:
    peft = pytest.importorskip("peft")
    adapted = CrossEncoder(saved[1], device="cpu")
    adapted.add_adapter(peft.LoraConfig(target_modules=["query"], r=2))
    with pytest.raises(ValueError, match="merge its adapter"):
        CrossEncoder.merge([CrossEncoder(saved[0], device="cpu"), adapted])
