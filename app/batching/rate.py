"""The measured service rate, for Retry-After and deadlines. Pure."""

from __future__ import annotations

HALF_LIFE_S = 5.0
"""Busy seconds after which a measurement counts half: long against one batch, short against a load change."""


class ServiceRate:
    """Tokens per second of busy time, exponentially weighted. Zero until the first measurement."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0

    @property
    def tokens_per_s(self) -> float:
        """The current estimate."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """A batch of `tokens` (without padding) took `seconds` of the worker's time."""
        seconds = max(seconds, 1e-6)
        decay = 0.5 ** (seconds / HALF_LIFE_S)
        self._tokens = self._tokens * decay + tokens
        self._seconds = self._seconds * decay + seconds

    def seconds_for(self, tokens: int) -> float:
        """Expected busy seconds for `tokens`; zero while nothing has been measured."""
        rate = self.tokens_per_s
        return tokens / rate if rate else 0.0
