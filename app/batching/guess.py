"""How many tokens a text will have, before it is tokenised. Pure."""

from __future__ import annotations

LOWEST = 0.15
"""Tokens per character of dense English; English has about 0.2, Chinese 0.6."""
RISE = 0.05
"""The share of the way by which a text with more tokens raises the guess; one with fewer lowers it at once."""


class TokenGuess:
    """A low guess from the texts seen lately: whom it refuses would be refused anyway, with the tokens counted."""

    def __init__(self) -> None:
        self._per_character = LOWEST

    def tokens(self, characters: int) -> int:
        """For texts of `characters` together."""
        return int(characters * self._per_character)

    def add(self, characters: int, tokens: int) -> None:
        """Texts of `characters` had `tokens`, before any truncation."""
        if not characters:
            return
        change = tokens / characters - self._per_character
        self._per_character = max(LOWEST, self._per_character + change * (RISE if change > 0 else 1))
