"""Settings of the tokenizer for one call, or for every call of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Settings = dict[str, Any] | None


def merged(own: Settings, given: Settings) -> dict[str, Any]:
    """The settings of one call, by kind of input, over those of the model. Raises ValueError where no kind is named."""
    first, second = own or {}, given or {}
    for name, value in {**first, **second}.items():
        if value is not None and not isinstance(value, Mapping):
            one = {name: value}
            raise ValueError(f"processing_kwargs: give {{'text': {one}}} instead of {one}")
    return {kind: {**(first.get(kind) or {}), **(second.get(kind) or {})} for kind in {**first, **second}}


def max_length_of(processing_kwargs: dict[str, Any] | None) -> int | None:
    """The limit on tokens in `{"text": {"max_length": ...}}`. Raises ValueError for settings that have no effect."""
    given = {**(processing_kwargs or {}).get("common", {}), **(processing_kwargs or {}).get("text", {})}
    limit = given.pop("max_length", None)
    given.pop("padding", None)  # rows are padded as little as possible, or not at all
    if given.pop("truncation", True) not in (True, "longest_first") or given:
        raise ValueError("processing_kwargs: only max_length can be set for text; pairs are cut longest_first")
    return None if limit is None else int(limit)
