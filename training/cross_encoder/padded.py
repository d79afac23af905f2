"""Scores of rows by a model's own forward pass, in padded batches of similar lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from app.model.bucketing import Budget, cut_batches
from app.model.types import Encoded
from training.cross_encoder.encoding import Padding, row_types
from training.cross_encoder.input_names import input_names

MIN_FILL = 0.7
"""The shortest row of a batch has at least this share of the longest one's tokens."""


class PaddedScorer:
    """Scores chunks of rows with `model` itself, whatever it is."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._typed = "token_type_ids" in input_names(model)

    def cut(self, lengths: Sequence[int], budget: int) -> list[range]:
        """Chunks of at most `budget` padded tokens; `lengths` must fall."""
        batches = cut_batches(lengths, Budget(max_tokens=budget, max_rows=max(1, len(lengths)), min_fill=MIN_FILL))
        return [range(batch[0], batch[-1] + 1) for batch in batches]

    def __call__(self, chunks: Sequence[Sequence[Encoded]], pad: Padding) -> Tensor:
        """Logits in order, shape (rows, labels), float32."""
        scores = []
        for rows in chunks:
            inputs = {name: array.to(self._device) for name, array in pad_rows(rows, pad).items()}
            if not self._typed:
                inputs.pop("token_type_ids", None)
            scores.append(self._model(**inputs).logits.float())
        return torch.cat(scores)


def pad_rows(rows: Sequence[Encoded], pad: Padding) -> dict[str, Tensor]:
    """Model inputs, int64, shape (rows, longest): `token_type_ids` only with segments."""
    width = max(map(len, rows))
    ids = np.full((len(rows), width), pad.pad_id, dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if pad.side == "right" else slice(width - len(row), width)
        ids[i, place] = row.ids
        mask[i, place] = 1
        if pad.segments:
            types[i, place] = row_types(row)
    arrays = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if pad.segments else {})
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
