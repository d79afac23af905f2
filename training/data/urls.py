"""Database URLs as they may be shown to others."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^/:@?]*):.*@", re.DOTALL)
"""Up to the last @: a password may have one of its own."""
_SECRET = re.compile(r"(?i)([?&][^=&]*(?:password|passwd|pwd|token|secret|key)[^=&]*)=[^&]*")


def without_password(url: str) -> str:
    """The URL with *** in place of its password, before the host or among the parameters."""
    return _SECRET.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", url))
