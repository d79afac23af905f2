"""Strings that carry their token ids."""

from __future__ import annotations

from app.model.types import IntArray


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
