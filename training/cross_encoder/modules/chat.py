"""Pairs as messages of a chat: a query and a document, and the prompt as what the system says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from app.model.types import Encoded, IntArray
from training.cross_encoder.encoding import PairEncoder
from training.cross_encoder.modules.setup import message_format

Messages = list[dict[str, Any]]
PROBES = (("alpha", "bravo"), ("charlie", "bravo"), ("alpha", "foxtrot"))
"""One pair, then one with another query and one with another document."""
FILLERS = ("0", "1 2 3 4")
"""Texts that end in different tokens: what rendered messages of both end in comes from the template."""


class ChatEncoder(PairEncoder):
    """Encodes by the tokenizer's chat template: roles "query" and "document", "user" for a single text.

    A prompt is the message of "system". What is too long is cut at the end, and the template's last tokens are then
    put back, since that is where a language model's answer is read. `options` reach the template; "restore_suffix"
    False leaves the cut end as it is. Raises ValueError for a template that leaves one text of a pair out.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None = None,
        form: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tokenizer, max_length)
        self._form, self._given = form, dict(options or {})
        self._template_options = {key: value for key, value in self._given.items() if key != "restore_suffix"}
        template = getattr(tokenizer, "chat_template", None)
        self._structured = (message_format(template, "") if form == "auto" else form) == "structured"
        self._restores = bool(self._given.get("restore_suffix", True))
        self._ends: dict[tuple[str | None, tuple[str, ...]], IntArray] = {}
        self._checked = False

    def __reduce__(self) -> tuple[type[ChatEncoder], tuple[Any, ...]]:
        return ChatEncoder, (self._source, self.max_length, self._form, self._given)

    @property
    def joins(self) -> bool:
        """No: tokens of a text depend on what the template puts beside it."""
        return False

    @property
    def settings(self) -> tuple[Any, ...]:
        """The template and its options too."""
        return (*super().settings, repr(getattr(self._source, "chat_template", None)), self._form, repr(self._given))

    def _pairs(self, pairs: Sequence[tuple[str, str]], prompt: str | None = None) -> list[Encoded]:
        """One row per pair, in order."""
        if pairs and not self._checked:
            self._check()
            self._checked = True
        return self._encode([(("query", first), ("document", second)) for first, second in pairs], prompt)

    def singles(self, texts: Sequence[str], prompt: str | None = None) -> list[Encoded]:
        """One row per text, in order."""
        return self._encode([(("user", text),) for text in texts], prompt)

    def _encode(self, talks: Sequence[tuple[tuple[str, str], ...]], prompt: str | None) -> list[Encoded]:
        rendered = [self._render(talk, prompt) for talk in talks]
        limit = self._options.max_length
        rows = []
        for talk, ids in zip(talks, self._tokenize(rendered), strict=True):
            kept = ids if len(ids) <= limit else ids[-limit:] if self._options.side == "left" else ids[:limit]
            if self._restores and len(kept) >= limit:
                kept = with_end(kept, self._end(tuple(role for role, _ in talk), prompt))
            rows.append(Encoded(kept, len(kept), len(ids)))
        return rows

    def _render(self, talk: Sequence[tuple[str, str]], prompt: str | None) -> str:
        spoken = [("system", prompt), *talk] if prompt else talk
        messages = [{"role": role, "content": self._content(str(text))} for role, text in spoken]
        return str(self._source.apply_chat_template(messages, tokenize=False, **self._template_options))

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self._structured else text

    def _end(self, roles: tuple[str, ...], prompt: str | None) -> IntArray:
        """The tokens that the template puts behind every text."""
        if (prompt, roles) not in self._ends:
            talks = [tuple((role, filler) for role in roles) for filler in FILLERS]
            self._ends[prompt, roles] = common_end(*self._tokenize([self._render(talk, prompt) for talk in talks]))
        return self._ends[prompt, roles]

    def _check(self) -> None:
        failure = pair_failure(self._source, lambda pair: self._render(pair, None))
        if failure is not None:
            raise ValueError(
                f"The chat template of {self._source.name_or_path or 'this model'} cannot carry a 'query'/'document' "
                f"pair ({failure}). Set one that renders the messages of both roles: "
                "processor_kwargs={'chat_template': ...} when loading, or model.tokenizer.chat_template = ... later"
            )


def pair_failure(tokenizer: Any, render: Callable[[Sequence[tuple[str, str]]], str]) -> str | None:
    """Why a template is no use for pairs, None if it is. A template that fails may raise anything."""
    if getattr(tokenizer, "chat_template", None) is None:
        return "the model has no chat template"
    try:
        base, query, document = (render((("query", first), ("document", second))) for first, second in PROBES)
    except Exception as error:
        return f"it raised {type(error).__name__}: {error}"
    lost = [role for role, text in (("query", query), ("document", document)) if text == base]
    return f"it leaves out the text of {' and '.join(lost)}" if lost else None


def common_end(first: IntArray, second: IntArray) -> IntArray:
    """The longest run of tokens that both end in; nothing where one is the end of the other."""
    shortest = min(len(first), len(second))
    differ = np.flatnonzero(first[::-1][:shortest] != second[::-1][:shortest])
    count = int(differ[0]) if len(differ) else 0
    return first[len(first) - count :]


def with_end(ids: IntArray, end: IntArray) -> IntArray:
    """`ids` with `end` over its last tokens; of the same length."""
    kept = min(len(end), len(ids))
    return np.concatenate((ids[: len(ids) - kept], end[len(end) - kept :]))
