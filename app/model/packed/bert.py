"""BERT, RoBERTa and XLM-RoBERTa over a packed chunk: their encoders, and the heads of their classifiers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from app.model.packed.dropout import Dropout
from app.model.packed.first_token import attend_first_to_states
from app.model.packed.layout import Layout
from app.model.packed.network import Network, rate


class BertNetwork(Network):
    """One pass of a `BertModel` or `BertForSequenceClassification`; subclasses differ in positions and head."""

    name = "bert"

    def build(self) -> None:
        self.encoder = self.encoder_of(self.model)
        *layers, last = self.encoder.encoder.layer
        self.layers = [_Layer(layer, self) for layer in layers]
        self.layers.append(_Layer(last, self, last=not self.every_token))  # by place: a layer may stand in several

    @classmethod
    def encoder_of(cls, model: Any) -> Any:
        """The encoder in a classifier; an encoder itself."""
        return getattr(model, cls.name, model)

    @classmethod
    def covers(cls, model: Any) -> bool:
        """Encoders with plain layers, at least one, and a table of positions; `is_decoder` would make them causal."""
        config = model.config
        absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
        layers = cls.encoder_of(model).encoder.layer
        return absolute and not config.is_decoder and len(layers) > 0 and all(map(_is_plain, layers))

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        tables = self.encoder.embeddings
        words: Tensor = self.look_up(tables.word_embeddings, ids) + tables.token_type_embeddings(types)
        placed: Tensor = words + tables.position_embeddings(positions)
        return placed

    def last_states(self, embedded: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        tables = self.encoder.embeddings
        hidden = dropout(tables.LayerNorm(embedded), rate(tables.dropout))
        for layer in self.layers:
            hidden = layer(hidden, layout, dropout)
        return hidden

    def head(self, states: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        pooled = torch.tanh(self.encoder.pooler.dense(states))
        logits: Tensor = self.model.classifier(dropout(pooled, rate(self.model.dropout)))
        return logits


class RobertaNetwork(BertNetwork):
    """RoBERTa and XLM-RoBERTa: positions count from behind the padding index, the head has two layers."""

    name = "roberta"

    def positions(self, layout: Layout) -> Tensor:
        """Padding tokens inside a text (written out by a user) do not count and sit at the padding index."""
        padding = self.encoder.embeddings.padding_idx
        real = (layout.ids != padding).long()
        counted = real.cumsum(0)
        starts = layout.ends[layout.owner].clamp_(max=layout.width - 1)
        before = counted[starts] - real[starts]
        places: Tensor = (counted - before).clamp_(min=0) * real + padding
        return places

    def head(self, states: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        head = self.model.classifier
        hidden = torch.tanh(head.dense(dropout(states, rate(head.dropout))))
        logits: Tensor = head.out_proj(dropout(hidden, rate(head.dropout)))
        return logits


def _is_plain(layer: Any) -> bool:
    """Whether its attention has biases everywhere or nowhere, and the usual factor."""
    own = layer.attention.self
    usual = own.attention_head_size**-0.5
    alike = len({one.bias is None for one in (own.query, own.key, own.value)}) == 1
    return alike and getattr(own, "scaling", usual) == usual


class _Layer:
    """One encoder layer; with `last` it gives the first token of each row only."""

    def __init__(self, layer: nn.Module, network: Network, *, last: bool = False) -> None:
        block: Any = layer
        linear, dtype = network.linear, network.dtype
        self.own, self.attended, self.out = block.attention.self, block.attention.output, block.output
        self.heads, self.size = self.own.num_attention_heads, self.own.attention_head_size
        self.activation = block.intermediate.intermediate_act_fn
        self.last = last
        self.inputs = linear([self.own.query] if last else [self.own.query, self.own.key, self.own.value], dtype)
        self.mixed, self.wide, self.narrow = (
            linear([part], dtype) for part in (self.attended.dense, block.intermediate.dense, self.out.dense)
        )
        self.attention = network.attention

    def __call__(self, hidden: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        share, split = rate(self.own.dropout), (-1, self.heads, self.size)
        if self.last:
            states, hidden = hidden, hidden.index_select(0, layout.first)
            query = self.inputs(hidden).view(split)
            context = attend_first_to_states(query, states, self.own.key, self.own.value, layout, share, dropout)
        else:
            qkv = self.inputs(hidden).view(layout.width, 3, *split[1:])
            context = self.attention(qkv, layout, share, dropout)
        mixed = dropout.add(self.mixed(context), hidden, rate(self.attended.dropout))
        hidden = self.attended.LayerNorm(mixed)
        wide = self.narrow(self.wide(hidden, self.activation))
        normed: Tensor = self.out.LayerNorm(dropout.add(wide, hidden, rate(self.out.dropout)))
        return normed
