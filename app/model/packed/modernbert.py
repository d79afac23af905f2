"""ModernBERT over a packed chunk: its encoder, and the head of its classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from app.model.packed.dropout import Dropout
from app.model.packed.first_token import attend_first
from app.model.packed.layout import Layout
from app.model.packed.network import Network, rate
from app.model.packed.rotary import rotate

Angles = tuple[Tensor, Tensor]
"""Cosines and sines of the rotary embedding, each of shape (width, size)."""


class ModernBertNetwork(Network):
    """One pass of a `ModernBertModel` or `ModernBertForSequenceClassification`."""

    def build(self) -> None:
        self.encoder, self.config = getattr(self.model, "model", self.model), self.model.config
        self.pooled_mean = self.config.classifier_pooling == "mean"
        *layers, last = self.encoder.layers
        self.layers = [_Layer(layer, self) for layer in layers]
        # By place: a layer may stand in several.
        self.layers.append(_Layer(last, self, last=not (self.every_token or self.pooled_mean)))

    @classmethod
    def covers(cls, model: Any) -> bool:
        """Rotary angles that depend on nothing but the position, and a head on the first token or on the mean."""
        config = model.config
        kinds = getattr(config, "layer_types", None) or []
        angles = getattr(config, "rope_parameters", None) or {}
        plain = all((angles.get(kind) or {}).get("rope_type") == "default" for kind in kinds)
        return bool(kinds) and plain and config.classifier_pooling in ("cls", "mean")

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        words: Tensor = self.look_up(self.encoder.embeddings.tok_embeddings, ids)
        return words

    def last_states(self, embedded: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        tables = self.encoder.embeddings
        hidden = dropout(tables.norm(embedded), rate(tables.drop))
        angles = {kind: self._angles(layout, kind) for kind in set(self.config.layer_types)}
        for layer in self.layers:
            hidden = layer(hidden, layout, angles[layer.kind], dropout)
        normed: Tensor = self.encoder.final_norm(hidden)
        return normed

    def head(self, states: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        pooled = _means(states, layout) if self.pooled_mean else states
        logits: Tensor = self.model.classifier(dropout(self.model.head(pooled), rate(self.model.drop)))
        return logits

    def _angles(self, layout: Layout, kind: str) -> Angles:
        like = torch.empty((), device=layout.ids.device)  # float32 whatever the model is in
        cosines, sines = self.encoder.rotary_emb(like, layout.positions[None], kind)
        return cosines[0], sines[0]


class _Layer:
    """One encoder layer; the last one gives the first token of each row only, unless the head takes the mean."""

    def __init__(self, layer: nn.Module, network: Network, *, last: bool = False) -> None:
        block: Any = layer
        linear, dtype = network.linear, network.dtype
        self.own, self.mlp, self.norms = block.attn, block.mlp, (block.attn_norm, block.mlp_norm)
        self.kind = block.attention_type
        self.window = block.config.sliding_window if self.kind == "sliding_attention" else None
        self.size = self.own.head_dim
        self.heads = self.own.Wqkv.out_features // (3 * self.size)
        self.last = last
        self.inputs = linear([self.own.Wqkv], dtype)
        self.mixed, self.wide, self.narrow = (linear([part], dtype) for part in (self.own.Wo, self.mlp.Wi, self.mlp.Wo))
        self.attention = network.attention

    def __call__(self, hidden: Tensor, layout: Layout, angles: Angles, dropout: Dropout) -> Tensor:
        share = float(self.own.attention_dropout) if self.own.training else 0.0
        qkv = self.inputs(self.norms[0](hidden)).view(layout.width, 3, self.heads, self.size)
        qkv = rotate(qkv, *angles)
        if self.last:
            hidden, query = hidden.index_select(0, layout.first), qkv[:, 0].index_select(0, layout.first)
            context = attend_first(query, qkv[:, 1:], layout, share, dropout, self.window)
        else:
            context = self.attention(qkv, layout, share, dropout, self.window)
        hidden = dropout.add(self.mixed(context), hidden, rate(self.own.out_drop))
        value, gate = self.wide(self.norms[1](hidden)).chunk(2, dim=-1)
        narrow: Tensor = self.narrow(dropout(self.mlp.act(value) * gate, rate(self.mlp.drop)))
        return narrow + hidden


def _means(hidden: Tensor, layout: Layout) -> Tensor:
    """Mean over the tokens of each row, shape (first tokens, hidden)."""
    sums = hidden.new_zeros(len(layout.ends), hidden.shape[1]).index_add(0, layout.owner, hidden)
    return sums[:-1] / layout.counts[:, None]  # the last one is the filling's
