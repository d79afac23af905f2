"""What the packed networks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from app.model.packed.dropout import Dropout
from app.model.packed.layout import Layout
from app.model.packed.weights import Linear


class Attention(Protocol):
    """Attention of every token to those of its row, on one kind of device; see `attend_fused`.

    `dropout` is the network's own: some attentions want more of it than the networks do.
    """

    def __call__(
        self, qkv: Tensor, layout: Layout, share: float, dropout: Any, window: int | None = None
    ) -> Tensor: ...


LookUp = Callable[[nn.Module, Tensor], Tensor]
"""Gives the entries of a table, as the table itself would."""


class Network(ABC):
    """One pass of `model` over some chunks: its matrices are joined and converted to `dtype` once for all of them.

    With `every_token` the last layer is computed for all tokens, as pooling needs it, and not for those alone that
    the model's head reads. `linear` computes the encoder's linear layers, `look_up` takes tokens from their table.
    """

    def __init__(
        self,
        model: Any,
        dtype: torch.dtype,
        attention: Attention,
        *,
        every_token: bool = False,
        linear: type[Linear] = Linear,
        look_up: LookUp = nn.Module.__call__,
    ) -> None:
        self.model = model
        self.dtype = dtype
        self.attention = attention
        self.every_token = every_token
        self.linear = linear
        self.look_up = look_up
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Takes what the pass needs from `model`."""

    @classmethod
    def covers(cls, model: Any) -> bool:
        """Whether `model`, in which no module is replaced, has nothing that this network does not compute."""
        return True

    def positions(self, layout: Layout) -> Tensor:
        """What the model's position table is asked for, shape (width,)."""
        return layout.positions

    @abstractmethod
    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """Sum of the embedding tables' entries for tokens of any chunks, before normalisation, shape (tokens, hidden).

        Apart from `score`, so that one look-up serves all chunks: the gradient of each fills a whole table.
        """

    @abstractmethod
    def last_states(self, embedded: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        """Last hidden states: shape (width, hidden), or (first tokens, hidden) where only those are computed."""

    @abstractmethod
    def head(self, states: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        """Logits from the last hidden states, shape (first tokens, labels)."""

    def score(self, embedded: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
        """Logits, shape (first tokens, labels)."""
        return self.head(self.last_states(embedded, layout, dropout), layout, dropout)


def rate(module: nn.Module) -> float:
    """The share that a dropout module drops at present."""
    return float(getattr(module, "p", 0.0)) if module.training else 0.0
