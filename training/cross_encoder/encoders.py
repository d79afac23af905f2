"""The encoders of one model: made when needed, kept while its tokenizer stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from training.cross_encoder.encoding import PairEncoder
from training.cross_encoder.modules.chat import ChatEncoder

KEPT = 4


class Encoders:
    """A few `PairEncoder`s by tokenizer, its size and the limit on tokens. Safe to call from several threads."""

    def __init__(self, chat: str | None = None) -> None:
        """`chat`: how messages hold their text, for models that read a pair as a chat."""
        self._chat = chat
        self._kept: dict[tuple[Any, ...], PairEncoder] = {}
        self._lock = threading.Lock()

    def get(
        self, tokenizer: Any, max_length: int | None = None, chat_template: Mapping[str, Any] | None = None
    ) -> PairEncoder:
        """The encoder that cuts at `max_length` tokens, by default at the tokenizer's own limit.

        `chat_template` are the options of the template of models that read a chat; others have no use for them.
        """
        limit = int(min(tokenizer.model_max_length if max_length is None else max_length, 1 << 30))
        key: tuple[Any, ...] = (id(tokenizer), len(tokenizer), limit, tokenizer.truncation_side, tokenizer.padding_side)
        if self._chat is not None:
            key = (*key, repr(tokenizer.chat_template), repr(chat_template))
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                if len(self._kept) >= KEPT:
                    self._kept.clear()
                # It holds the tokenizer, so that no other can get the same id while the entry lives.
                found = self._kept[key] = self._made(tokenizer, limit, chat_template)
            return found

    def _made(self, tokenizer: Any, limit: int, options: Mapping[str, Any] | None) -> PairEncoder:
        if self._chat is None:
            return PairEncoder(tokenizer, limit)
        return ChatEncoder(tokenizer, limit, self._chat, options)

    def __reduce__(self) -> tuple[type[Encoders], tuple[str | None]]:
        """Copies start empty: a worker process makes its own."""
        return Encoders, (self._chat,)
