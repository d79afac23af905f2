"""Networks that hide which inputs they take are handed all that they score with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from tests.unit.training.cross_encoder.forward_models import build
from tests.unit.training.cross_encoder.modules.tiny_causal import write_causal
from tests.unit.training.cross_encoder.test_predict import PAIRS
from training.cross_encoder import CrossEncoder
from training.cross_encoder.input_names import input_names

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks
CLOSE = {"rtol": 0, "atol": 1e-5}


class Around(nn.Module):
    """A wrapper of a kind that nobody knows."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.inside, self.config = network, network.config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inside(*args, **kwargs)


def compiled(network: Any) -> Any:
    return torch.compile(network, backend="eager")


def adapted(network: Any) -> Any:
    return get_peft_model(network, LoraConfig(r=2, target_modules="all-linear"))


def classifying(network: Any) -> Any:
    return get_peft_model(network, LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS"))


def patched(network: Any) -> Any:
    inner = network.forward
    network.forward = lambda *args, **kwargs: inner(*args, **kwargs)
    return network


def partly_patched(network: Any) -> Any:
    inner = network.forward
    network.forward = lambda input_ids=None, **kwargs: inner(input_ids=input_ids, **kwargs)
    return network


HIDING: dict[str, Callable[[Any], Any]] = {
    "compiled": compiled,
    "adapted": adapted,
    "classifying": classifying,
    "compiled adapter": lambda network: compiled(classifying(network)),
    "adapted compilation": lambda network: adapted(compiled(network)),
    "patched": patched,
    "partly patched": partly_patched,
    "around": Around,
}


@pytest.mark.parametrize("how", HIDING)
def test_a_hidden_network_scores_as_before_by_texts_and_by_tensors(how: str, reranker_dir: Path) -> None:
    """Token types were dropped without a word, or all inputs: compilation gave scores of another model."""
    model = CrossEncoder(reranker_dir, device="cpu")
    expected = model.predict(PAIRS)
    model[0].model = HIDING[how](model[0].model)
    np.testing.assert_allclose(model.predict(PAIRS), expected, **CLOSE)
    scores = model(model.preprocess(PAIRS))["scores"]
    np.testing.assert_allclose(scores.sigmoid().view(-1).detach(), expected, **CLOSE)


@pytest.mark.parametrize("how", ["compiled", "adapted", "patched", "around"])
def test_a_hidden_language_model_scores_as_before(how: str, tmp_path: Path) -> None:
    """Its positions must be handed to it too, since its rows are padded on the left."""
    model = CrossEncoder(write_causal(tmp_path), device="cpu")
    expected = model.predict(PAIRS)
    model.model = HIDING[how](model.model)
    np.testing.assert_allclose(model.predict(PAIRS), expected, **CLOSE)


def test_a_compiled_network_trains_and_is_saved_as_it_scores(reranker_dir: Path, tmp_path: Path) -> None:
    """It was trained without token types, which the saved model was then given again."""
    model = CrossEncoder(reranker_dir, device="cpu")
    model.model = compiled(model.model)
    model.train()
    model({"rows": model.pair_encoder.pairs(PAIRS[:8])})["scores"].pow(2).mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.3).step()
    assert model.model.bert.embeddings.token_type_embeddings.weight.grad[1].any()
    model.save_pretrained(tmp_path, create_model_card=False)
    np.testing.assert_allclose(CrossEncoder(tmp_path, device="cpu").predict(PAIRS), model.predict(PAIRS), **CLOSE)


@pytest.mark.parametrize("how", HIDING)
def test_what_a_network_does_not_take_is_not_handed_to_it(how: str) -> None:
    """DistilBERT has no token types; only a wrapper of an unknown kind is believed to take everything."""
    sizes: dict[str, Any] = {"dim": 16, "hidden_dim": 16, "n_heads": 2, "n_layers": 1, "vocab_size": 20}
    network = DistilBertForSequenceClassification(DistilBertConfig(**sizes))
    assert "token_type_ids" not in input_names(network)
    if "adapter" not in how and how != "classifying":  # of layers with other names
        names = input_names(HIDING[how](network))
        assert ("token_type_ids" in names) == (how == "around")
        assert "input_ids" in names
    assert "token_type_ids" in input_names(build("bert"))
