"""score_pairs: one call of the model for all pairs of a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from training.cross_encoder.encoding import PairEncoder
from training.cross_encoder.forward import score_rows
from training.cross_encoder.scoring import score_pairs

PAIRS = [("what is a fox", "a lazy dog and a cat"), ("capital of france", "paris"), ("what is a fox", "berlin")]


class Model(nn.Module):
    """As much of a CrossEncoder as scoring uses; counts its calls."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.pair_encoder = PairEncoder(self.tokenizer, 64)
        self.calls: list[dict[str, Any]] = []

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(features)
        limit = features["mini_batch_tokens"]
        pad = self.pair_encoder.padding
        return {**features, "scores": score_rows(self.model, features["rows"], pad=pad, mini_batch_tokens=limit)}


class Wrapper(nn.Module):
    """As DistributedDataParallel."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.calls = 0

    def forward(self, *inputs: Any) -> Any:
        self.calls += 1
        return self.module(*inputs)


@pytest.fixture(scope="module")
def model(classifier_dir: Path) -> Model:
    """Three labels."""
    return Model(classifier_dir)


def expected(model: Model, prompt: str = "") -> Tensor:
    """Each pair alone through tokenizer and model."""
    inputs = [model.tokenizer(prompt + first, second, return_tensors="pt") for first, second in PAIRS]
    return torch.cat([model.model(**one).logits for one in inputs])


@pytest.mark.parametrize("prompt", [None, "query : "])
def test_scores_in_order_with_gradient(model: Model, prompt: str | None) -> None:
    """Shape (pairs, labels), also through gradient caching."""
    for limit in (None, 12):
        scores = score_pairs(model, PAIRS, prompt=prompt, mini_batch_tokens=limit)
        torch.testing.assert_close(scores, expected(model, prompt or ""), rtol=1e-5, atol=1e-5)
        assert scores.requires_grad


def test_the_wrapper_is_called_and_called_once(model: Model) -> None:
    """Distributed training hooks into that call."""
    outer = Wrapper(Wrapper(model))
    model.calls.clear()
    torch.testing.assert_close(score_pairs(outer, PAIRS), expected(model), rtol=1e-5, atol=1e-5)
    assert outer.calls == len(model.calls) == 1


def test_any_callable_of_pairs_serves() -> None:
    """For models that are not ours: (pairs,) becomes (pairs, 1), half precision float32."""

    def lengths(pairs: list[tuple[str, str]]) -> Tensor:
        return torch.tensor([len(first) for first, _ in pairs], dtype=torch.bfloat16)

    scores = score_pairs(lengths, PAIRS)
    assert scores.dtype == torch.float32
    assert scores.tolist() == [[len(first)] for first, _ in PAIRS]
