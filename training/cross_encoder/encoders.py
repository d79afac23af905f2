"""The encoders of one model: made when needed, kept while its tokenizer stays as it is."""

from __future__ import annotations

import threading
from typing import Any

from training.cross_encoder.encoding import PairEncoder

KEPT = 4


class Encoders:
    """A few `PairEncoder`s by tokenizer, its size and the limit on tokens. Safe to call from several threads."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], PairEncoder] = {}
        self._lock = threading.Lock()

    def get(self, tokenizer: Any, max_length: int | None = None) -> PairEncoder:
        """The encoder that cuts at `max_length` tokens, by default at the tokenizer's own limit."""
        limit = int(min(tokenizer.model_max_length if max_length is None else max_length, 1 << 30))
        key = (id(tokenizer), len(tokenizer), limit, tokenizer.truncation_side, tokenizer.padding_side)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                if len(self._kept) >= KEPT:
                    self._kept.clear()
                # It holds the tokenizer, so that no other can get the same id while the entry lives.
                found = self._kept[key] = PairEncoder(tokenizer, limit)
            return found

    def __reduce__(self) -> tuple[type[Encoders], tuple[()]]:
        """Copies start empty: a worker process makes its own."""
        return Encoders, ()
