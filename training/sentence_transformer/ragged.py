"""Rows of tokens laid end to end, and sums over each row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ragged:
    """`tokens` of shape (tokens, hidden), row after row; `lengths` of shape (rows,).

    `places` are those of the tokens in their rows, from 0, where tokens were left out at the start of each.
    """

    tokens: Tensor
    lengths: Tensor
    skipped: int = 0
    """Tokens left out at the start of each row."""

    @cached_property
    def starts(self) -> Tensor:
        """Index of each row's first token."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def owners(self) -> Tensor:
        """The row of each token."""
        rows = torch.arange(len(self.lengths), device=self.lengths.device)
        return rows.repeat_interleave(self.lengths, output_size=len(self.tokens))

    @cached_property
    def places(self) -> Tensor:
        """Place of each token in its row, from 0, those that were left out counted."""
        index = torch.arange(len(self.tokens), device=self.lengths.device)
        return index - self.starts[self.owners] + self.skipped

    @property
    def wide(self) -> torch.dtype:
        """The precision of sums."""
        return torch.float32 if self.tokens.dtype in (torch.float16, torch.bfloat16) else self.tokens.dtype

    def without_first(self, count: int) -> Ragged:
        """The rows without their first `count` tokens."""
        if count <= 0:
            return self
        return Ragged(self.tokens[self.places >= count], (self.lengths - count).clamp(min=0), count)

    def at(self, places: Tensor) -> Tensor:
        """The token at one place of each row, shape (rows, hidden); zeros for a row without tokens."""
        if not len(self.tokens):
            return self.tokens.new_zeros(len(self.lengths), self.tokens.shape[1])
        found = self.tokens[(self.starts + places).clamp(max=len(self.tokens) - 1)]
        return found.masked_fill(self.lengths[:, None] == 0, 0)

    def sums(self, values: Tensor) -> Tensor:
        """The sum of `values`, shape (tokens, any), over each row, in the wide precision."""
        zeros = torch.zeros(len(self.lengths), values.shape[1], dtype=self.wide, device=values.device)
        return zeros.index_add(0, self.owners, values.to(self.wide))

    def maximum(self) -> Tensor:
        """The largest number of each row by dimension; zeros for a row without tokens."""
        rows = self.owners[:, None].expand(-1, self.tokens.shape[1])
        zeros = self.tokens.new_zeros(len(self.lengths), self.tokens.shape[1])
        return zeros.scatter_reduce(0, rows, self.tokens, reduce="amax", include_self=False)


def ragged_tokens(features: dict[str, Any]) -> Ragged:
    """The "token_embeddings" of `features` without padding, whichever side it is on."""
    tokens = features["token_embeddings"]
    if "lengths" in features:
        return Ragged(tokens, features["lengths"])
    mask = features.get("attention_mask")
    if mask is None or mask.shape[-1] != tokens.shape[1]:
        mask = torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)
    return Ragged(tokens[mask.bool()], mask.sum(1))


def padded_features(features: dict[str, Any]) -> dict[str, Any]:
    """Features whose tokens are laid end to end, with padded ones instead: for modules that know no others."""
    if "lengths" not in features:
        return features
    lengths = features["lengths"].tolist()
    parts = torch.split(features["token_embeddings"], lengths)
    padded = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    places = torch.arange(padded.shape[1], device=padded.device)
    mask = (places[None, :] < features["lengths"][:, None]).long()
    rest = {name: value for name, value in features.items() if name != "lengths"}
    return {**rest, "token_embeddings": padded, "attention_mask": mask}
