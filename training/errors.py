"""Errors that only training knows; the tree they hang on is `app.errors`."""

from __future__ import annotations

from collections.abc import Mapping

from app.errors import StartupError


class DataError(StartupError):
    """A data file is missing or has a wrong line: the message names file, line, column and remedy."""


class Interrupted(StartupError):
    """Training was asked to stop; the message says how to go on from the checkpoint."""


class EngineError(StartupError):
    """Processes that computed for a command failed for good; the message says why and what can be done."""


class ParityError(StartupError):
    """An exported graph is too far from its model. `figures` are the parity figures of every target."""

    def __init__(self, message: str, figures: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__(message)
        self.figures = figures
