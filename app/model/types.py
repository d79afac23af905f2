"""Plain values that travel between tokeniser, batcher and backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
Batch = Mapping[str, NDArray[np.int64]]
"""Padded model inputs by name, each of shape (rows, width)."""

Truncation = Literal["longest_first", "only_second"]
Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Token ids of one model input, special tokens included, not padded.

    `ids` has shape (tokens,); positions from `split` on belong to the second segment (type id 1).
    `full_length` is the token count before truncation to `max_length`.
    """

    ids: IntArray
    split: int
    full_length: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How over-long inputs are cut. Limits are in tokens; `max_length` includes special tokens."""

    max_length: int
    truncation: Truncation = "longest_first"
    side: Side = "right"
    max_document_tokens: int | None = None
