"""Foreign error messages, cut so that ours stay on one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of the error's message, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
