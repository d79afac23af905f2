"""Scores of encoded rows: sorted by length, in chunks that fit a processor's cache, without padding where possible."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn

from app.model.types import Encoded
from training.cross_encoder.encoding import Padding
from training.cross_encoder.gradient_cache import cached_scores
from training.cross_encoder.packed.chunks import suited_tokens
from training.cross_encoder.packed.scorer import PackedScorer
from training.cross_encoder.padded import PaddedScorer
from training.cross_encoder.sharded import is_sharded, warn_of_memory
from training.util.environment import is_dist_initialized


class Scorer(Protocol):
    """What turns chunks of rows into logits."""

    def cut(self, lengths: Sequence[int], budget: int) -> Sequence[Sequence[int]]:
        """The places of rows in chunks of about `budget` tokens; `lengths` fall, in each chunk too."""

    def __call__(self, chunks: Sequence[Sequence[Encoded]], pad: Padding) -> Tensor:
        """Logits in order, float32, shape (rows, labels)."""


def score_rows(
    model: nn.Module,
    rows: Sequence[Encoded],
    *,
    pad: Padding,
    chunk_tokens: int | None = None,
    mini_batch_tokens: int | None = None,
) -> Tensor:
    """Logits of `rows` by a sequence classification `model` of transformers: float32, shape (rows, labels), in order.

    They carry gradients unless those are off. With `mini_batch_tokens` the activations of at most about that many
    tokens are held at a time: the rest is computed anew, with the same dropout, for the backward pass. A model whose
    weights are shared out among processes scores all rows in one pass, so that every process makes as many passes.
    """
    parameter = next(model.parameters())
    if not rows:
        return torch.zeros(0, int(model.config.num_labels), device=parameter.device)  # type: ignore[union-attr, arg-type]
    if is_dist_initialized() and is_sharded(model):
        if mini_batch_tokens is not None:
            warn_of_memory()
        return PaddedScorer(model)([rows], pad)
    budget = chunk_tokens or suited_tokens(model)
    if mini_batch_tokens is not None:
        budget = min(budget, mini_batch_tokens)
    scorer: Scorer = PackedScorer.of(model) or PaddedScorer(model)
    falling = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    cut = [[falling[i] for i in places] for places in scorer.cut([len(rows[i]) for i in falling], budget)]
    chunks, order = [[rows[i] for i in places] for places in cut], list(chain.from_iterable(cut))

    def run(some: Sequence[Sequence[Encoded]]) -> Tensor:
        return scorer(some, pad)

    parts = [chunks] if mini_batch_tokens is None else mini_batches(chunks, mini_batch_tokens)
    cached = len(parts) > 1 and torch.is_grad_enabled() and any(one.requires_grad for one in model.parameters())
    scores = cached_scores(run, parts, model) if cached else run(chunks)
    places = torch.empty(len(rows), dtype=torch.long)
    places[order] = torch.arange(len(rows))
    return scores.index_select(0, places.to(scores.device))


def mini_batches(chunks: Sequence[Sequence[Encoded]], budget: int) -> list[list[Sequence[Encoded]]]:
    """Whole `chunks` in mini-batches of at most `budget` tokens, so that both ways of scoring use the same chunks."""
    parts: list[list[Sequence[Encoded]]] = []
    total = 0
    for chunk in chunks:
        tokens = sum(map(len, chunk))
        if not parts or total + tokens > budget:
            parts.append([])
            total = 0
        parts[-1].append(chunk)
        total += tokens
    return parts
