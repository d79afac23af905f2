"""The last layer of a classifier for each row's first token alone, where its head reads no other.

It spares an exported graph most of that layer: a seventh of the work of a model with six. The packed networks of
`app.model.packed` do the same without padding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb


def cut_last_layer(model: nn.Module) -> None:
    """Makes a classifier that PyTorch's exporter is about to trace compute its last layer for first tokens alone.

    For BERT, RoBERTa, XLM-RoBERTa, ELECTRA, DistilBERT, DeBERTa-v2 and ModernBERT; any other model stays as it is, and
    so does one whose head reads all tokens, or of a transformers before 5. The logits remain the same.
    """
    # Before, layers took masks of other shapes and gave tuples.
    if type(model).__name__ in FAMILIES and int(transformers.__version__.partition(".")[0]) >= 5:
        find, compute = FAMILIES[type(model).__name__]
        layer = find(model)
        if layer is not None:
            layer.forward = partial(compute, layer)


def _bert(model: Any) -> Any:
    config, layers = model.config, model.base_model.encoder.layer
    return layers[-1] if len(layers) and not (config.is_decoder or config.add_cross_attention) else None


def _distilbert(model: Any) -> Any:
    layers = model.distilbert.transformer.layer
    return layers[-1] if len(layers) else None


def _deberta(model: Any) -> Any:
    layers = model.deberta.encoder.layer
    return layers[-1] if len(layers) > 1 else None  # behind a single one may follow a convolution, which reads all


def _modernbert(model: Any) -> Any:
    layers = model.model.layers
    return layers[-1] if len(layers) and model.config.classifier_pooling == "cls" else None


def _of_bert(layer: Any, hidden: Tensor, mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    own, first = layer.attention.self, hidden[:, :1]
    query, key, value = (
        _heads(states, own.attention_head_size) for states in (own.query(first), own.key(hidden), own.value(hidden))
    )
    context = _attend(query, key, value, mask)
    return _tensor(layer.feed_forward_chunk(layer.attention.output(context, first)))


def _of_distilbert(layer: Any, hidden: Tensor, mask: Tensor | None = None, **_: Any) -> Tensor:
    own, first = layer.attention, hidden[:, :1]
    query, key, value = (
        _heads(states, own.attention_head_size) for states in (own.q_lin(first), own.k_lin(hidden), own.v_lin(hidden))
    )
    attended = layer.sa_layer_norm(own.out_lin(_attend(query, key, value, mask)) + first)
    return _tensor(layer.output_layer_norm(layer.ffn(attended) + attended))


def _of_deberta(layer: Any, hidden: Tensor, mask: Tensor, **options: Any) -> tuple[Tensor, None]:
    # Its attention is left whole: the part from position to content is wrong for a query of other length than the keys.
    context, _ = layer.attention.self(hidden, mask, **options)
    attended = layer.attention.output(context[:, :1], hidden[:, :1])
    return _tensor(layer.output(layer.intermediate(attended), attended)), None


def _of_modernbert(
    layer: Any, hidden: Tensor, attention_mask: Tensor | None, position_embeddings: tuple[Tensor, Tensor], **_: Any
) -> Tensor:
    own, normed = layer.attn, layer.attn_norm(hidden)
    weights = own.Wqkv.weight.chunk(3)
    biases = own.Wqkv.bias.chunk(3) if own.Wqkv.bias is not None else (None,) * 3
    inputs = (normed[:, :1], normed, normed)
    query, key, value = (_heads(linear(*each), own.head_dim) for each in zip(inputs, weights, biases, strict=True))
    cosine, sine = position_embeddings
    query, _ = apply_rotary_pos_emb(query, query, cosine[:, :1], sine[:, :1])
    key, _ = apply_rotary_pos_emb(key, key, cosine, sine)
    attended = hidden[:, :1] + own.Wo(_attend(query, key, value, attention_mask))
    return _tensor(attended + layer.mlp(layer.mlp_norm(attended)))


def _heads(states: Tensor, size: int) -> Tensor:
    """Shape (rows, heads, tokens, size)."""
    return states.view(*states.shape[:2], -1, size).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Context of the first tokens, shape (rows, 1, hidden).

    `mask` is added to the scores: shape (rows or 1, 1, queries or 1, tokens).
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5
    shares = torch.softmax(scores if mask is None else scores + mask[:, :, :1], -1)
    return torch.matmul(shares, value).flatten(1).unsqueeze(1)


def _tensor(value: Any) -> Tensor:
    result: Tensor = value
    return result


FAMILIES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "BertForSequenceClassification": (_bert, _of_bert),
    "RobertaForSequenceClassification": (_bert, _of_bert),
    "XLMRobertaForSequenceClassification": (_bert, _of_bert),
    "ElectraForSequenceClassification": (_bert, _of_bert),
    "DistilBertForSequenceClassification": (_distilbert, _of_distilbert),
    "DebertaV2ForSequenceClassification": (_deberta, _of_deberta),
    "ModernBertForSequenceClassification": (_modernbert, _of_modernbert),
}
"""By class of the model: its last layer, or None if that has to stay, and what takes the place of the `forward`."""
