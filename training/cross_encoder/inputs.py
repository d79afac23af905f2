"""What users hand to `predict`, brought into one form: a list of pairs and single texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from app.model.types import Encoded
from training.cross_encoder.encoding import PairEncoder

Text = str | tuple[str, str]


def is_list_like(value: Any) -> bool:
    """Lists, tuples and columns of a `datasets.Dataset` (which is not imported for the question)."""
    if isinstance(value, list | tuple):
        return True
    return type(value).__name__ == "Column" and type(value).__module__.startswith("datasets.")


def is_single(inputs: Any) -> bool:
    """Whether `inputs` is one pair (or one text) rather than a batch.

    A list whose first element is no list is one pair; a NumPy array of strings is one pair if it has one axis.
    """
    if is_list_like(inputs):
        return len(inputs) > 0 and not is_list_like(inputs[0]) and not isinstance(inputs[0], np.ndarray)
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "UO":
        return bool(inputs.size) and inputs.ndim < 2
    return True


def as_batch(inputs: Any) -> tuple[list[Text], bool]:
    """The checked inputs as a list, and whether they were a single one. Raises ValueError, naming the position."""
    single = is_single(inputs)
    values = inputs.tolist() if isinstance(inputs, np.ndarray) else inputs
    return ([_checked(values, None)] if single else as_items(values)), single


def as_items(values: Iterable[Any]) -> list[Text]:
    """A checked list of pairs and single texts, never one pair of two. Raises ValueError, naming the position."""
    return [_checked(item, i) for i, item in enumerate(values)]


def _checked(item: Any, index: int | None) -> Text:
    where = "" if index is None else f" at position {index}"
    if isinstance(item, str):
        return item
    if not isinstance(item, list | tuple | np.ndarray) and not is_list_like(item):
        raise ValueError(f"Unsupported input type{where}: {type(item).__name__}. Expected a (text, text) pair of str")
    if len(item) != 2:
        raise ValueError(f"Unsupported input{where}: {len(item)} elements. Expected a pair of 2 texts")
    for text in item:
        if not isinstance(text, str):
            raise ValueError(f"Unsupported input type{where}: {type(text).__name__}. Expected a pair of 2 str")
    return item[0], item[1]


def encode(encoder: PairEncoder, items: Sequence[Text], prompt: str | None = None) -> list[Encoded]:
    """One row per item, in order; each distinct text is tokenised once."""
    if all(not isinstance(item, str) for item in items):
        return encoder.pairs(items, prompt)  # type: ignore[arg-type]
    singles = iter(encoder.singles([item for item in items if isinstance(item, str)], prompt))
    pairs = iter(encoder.pairs([item for item in items if not isinstance(item, str)], prompt))
    return [next(singles) if isinstance(item, str) else next(pairs) for item in items]
