"""Errors that only training knows; the tree they hang on is `app.errors`."""

from __future__ import annotations

from app.errors import StartupError


class DataError(StartupError):
    """A data file is missing or has a wrong line: the message names file, line, column and remedy."""


class Interrupted(StartupError):
    """Training was asked to stop; the message says how to go on from the checkpoint."""
