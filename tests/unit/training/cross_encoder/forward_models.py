"""Tiny random models of each architecture that runs packed, and rows for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from app.model.types import Encoded
from training.cross_encoder.encoding import Padding

VOCABULARY = 60
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "num_labels": 2,
}
MODERN: dict[str, Any] = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "cls_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "local_attention": 16,
    "global_attn_every_n_layers": 2,
    "mlp_dropout": 0.1,
    "embedding_dropout": 0.1,
    "classifier_dropout": 0.1,
}


def _bert(**changes: Any) -> PreTrainedModel:
    return BertForSequenceClassification(BertConfig(**{**SIZES, **changes}))


def _roberta(**changes: Any) -> PreTrainedModel:
    return RobertaForSequenceClassification(RobertaConfig(**{**SIZES, "pad_token_id": 1, **changes}))


def _xlm_roberta(**changes: Any) -> PreTrainedModel:
    return XLMRobertaForSequenceClassification(XLMRobertaConfig(**{**SIZES, "pad_token_id": 1, **changes}))


def _modernbert(**changes: Any) -> PreTrainedModel:
    return ModernBertForSequenceClassification(ModernBertConfig(**{**SIZES, **MODERN, **changes}))


def _modernbert_mean(**changes: Any) -> PreTrainedModel:
    changes = {"attention_dropout": 0.1, "attention_bias": True, "mlp_bias": True, "norm_bias": True, **changes}
    return _modernbert(classifier_pooling="mean", **changes)


FAMILIES: dict[str, Callable[..., PreTrainedModel]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _xlm_roberta,
    "modernbert": _modernbert,
    "modernbert-mean": _modernbert_mean,
}


def build(family: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A model of `family` in evaluation mode whose biases and norms are not at their initial values either."""
    torch.manual_seed(seed)
    model = FAMILIES[family](**changes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def padding_of(model: PreTrainedModel) -> Padding:
    """How rows for `model` are padded."""
    return Padding(int(model.config.pad_token_id), segments=model.config.model_type == "bert")


def rows_of(lengths: list[int], seed: int = 0) -> list[Encoded]:
    """Random rows of these lengths, without padding ids."""
    rng = np.random.default_rng(seed)
    return [Encoded(rng.integers(3, VOCABULARY, n).astype(np.int32), 1 + n // 3, n) for n in lengths]


def without_dropout(model: nn.Module) -> None:
    """Turns all dropout off, also in training mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0


def gradients(model: nn.Module, score: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """Scores, and the gradient of a fixed function of them by all parameters, as one vector."""
    model.zero_grad()
    scores = score()
    weights = torch.linspace(-1, 1, scores.numel()).view_as(scores)
    (scores * weights).sum().backward()
    parts = [
        (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten()
        for parameter in model.parameters()
    ]
    return scores.detach(), torch.cat(parts)


def distance(vector: Tensor, reference: Tensor) -> float:
    """Relative L2 distance."""
    return float((vector - reference).norm() / reference.norm())
