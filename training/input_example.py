"""One training example of the older interface, `CrossEncoder.fit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class InputExample:
    """Texts that belong together, their label and an optional id."""

    def __init__(self, guid: str = "", texts: Sequence[str] | None = None, label: Any = 0) -> None:
        self.guid = guid
        self.texts = texts
        self.label = label

    def __str__(self) -> str:
        return f"<InputExample> label: {self.label}, texts: {'; '.join(self.texts or ())}"

    def __repr__(self) -> str:
        return f"InputExample(guid={self.guid!r}, texts={self.texts!r}, label={self.label!r})"
