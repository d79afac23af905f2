"""How many tokens the rows of a dataset cost, for batches by tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.cross_encoder.columns import LABEL_COLUMNS, input_columns
from training.cross_encoder.encoding import PairEncoder

BLOCK_ROWS = 10_000
SPECIAL_TOKENS = 4
"""The most that an encoder of pairs adds."""


def row_tokens(dataset: Any, encoder: PairEncoder, valid: tuple[str, ...] = LABEL_COLUMNS) -> NDArray[np.int64]:
    """(rows,) tokens of all pairs of each row: its first text with each of its others, lists included."""
    limit = encoder.max_length or 1 << 30
    columns = input_columns(dataset.column_names, valid)
    found: list[int] = []
    for start in range(0, len(dataset), BLOCK_ROWS):
        block = dataset[start : start + BLOCK_ROWS]
        rows = list(zip(*(block[name] for name in columns), strict=True))
        lengths = text_lengths(encoder, rows)
        for first, *others in rows:
            pairs = [lengths[first] + lengths[text] for text in flat(others)]
            found.append(sum(min(pair + SPECIAL_TOKENS, limit) for pair in pairs))
    return np.array(found, dtype=np.int64)


def text_lengths(encoder: PairEncoder, rows: list[tuple[Any, ...]]) -> dict[str, int]:
    """Tokens of each distinct text."""
    distinct = list(dict.fromkeys(text for row in rows for text in flat(row)))
    return {text: len(ids) for text, ids in zip(distinct, encoder.ids(distinct), strict=True)}


def flat(values: Any) -> list[str]:
    """The texts among `values`, and those in lists among them."""
    return [text for value in values for text in ([value] if isinstance(value, str) else flat(value))]
