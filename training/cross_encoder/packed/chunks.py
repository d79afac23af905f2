"""How large chunks of rows are, rows cut into them, and each laid out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from app.model.packed.layout import Layout, Multiples, lay_out
from app.model.types import Encoded
from training.cross_encoder.encoding import row_types

CPU_CHUNK_TOKENS = {2: 2048, 4: 1536, 8: 512}
"""Tokens of a chunk on a CPU by the bytes of a number: a cache holds about so many activations."""
ACCELERATOR_CHUNK_TOKENS = 16_384


def computed_in(model: nn.Module) -> torch.dtype:
    """The precision of autocast, or the model's own without."""
    parameter = next(model.parameters())
    kind = parameter.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else parameter.dtype


def suited_tokens(model: nn.Module) -> int:
    """Tokens per chunk that suit the device of `model` and its precision at present."""
    if next(model.parameters()).device.type != "cpu":
        return ACCELERATOR_CHUNK_TOKENS
    return CPU_CHUNK_TOKENS[computed_in(model).itemsize]


def lay_out_rows(rows: Sequence[Encoded], *, segments: bool, multiples: Multiples, device: torch.device) -> Layout:
    """The layout of `rows`, of which those of equal length should be neighbours."""
    ids = np.concatenate([row.ids for row in rows]).astype(np.int64)
    types = np.concatenate([row_types(row) for row in rows]).astype(np.int64) if segments else np.zeros_like(ids)
    return lay_out(ids, types, [len(row) for row in rows], multiples=multiples, device=device)


def cut_chunks(lengths: Sequence[int], budget: int) -> list[range]:
    """Neighbouring rows in chunks of at most `budget` tokens each; a longer row goes alone."""
    chunks, start, total = [], 0, 0
    for index, length in enumerate(lengths):
        if index > start and total + length > budget:
            chunks.append(range(start, index))
            start, total = index, 0
        total += length
    return [*chunks, range(start, len(lengths))] if lengths else []
