"""Strings that carry their tokens."""

from __future__ import annotations

from typing import Any

from app.model.types import Encoded, IntArray


class TokenizedText(str):
    """A text with its token `ids`, without special tokens and not cut: int32, shape (tokens,).

    It is tokenised once, where the data is loaded (in the worker processes of a DataLoader), and still is the plain
    string that a user's own loss expects.
    """

    ids: IntArray

    def __new__(cls, text: str, ids: IntArray) -> TokenizedText:
        self = super().__new__(cls, text)
        self.ids = ids
        return self

    def __getnewargs__(self) -> tuple[str, IntArray]:  # type: ignore[override]
        return str(self), self.ids


class RowText(str):
    """The second text of a pair with the model's `row` of both, for encoders that cannot make it of two texts' ids.

    `made_of` says of what: the first text, the prompt, and all of the encoder's settings that count.
    """

    made_of: tuple[Any, ...]
    row: Encoded

    def __new__(cls, text: str, made_of: tuple[Any, ...], row: Encoded) -> RowText:
        self = super().__new__(cls, text)
        self.made_of, self.row = made_of, row
        return self

    def __getnewargs__(self) -> tuple[str, tuple[Any, ...], Encoded]:  # type: ignore[override]
        return str(self), self.made_of, self.row
