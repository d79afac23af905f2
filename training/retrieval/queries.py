"""What a retriever is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Texts to search with. `ids`, one per text, are needed only where results were computed before (a run file).

    Raises DataError if there are not as many ids as texts.
    """

    texts: Sequence[str]
    ids: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.ids is not None and len(self.ids) != len(self.texts):
            raise DataError(f"queries: {len(self.texts)} texts but {len(self.ids)} ids; give one id per text")

    def __len__(self) -> int:
        return len(self.texts)
