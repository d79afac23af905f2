"""Texts to model inputs: each distinct text is tokenised once, from any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase

from app.errors import ArtifactError
from app.model.tokenizer import PairTokenizer
from app.model.types import Encoded, EncodeOptions, IntArray, Side
from training.cross_encoder.texts import RowText, TokenizedText

NO_LIMIT = 1 << 30
"""Tokenizers without a length limit say 1e30, which is no array length."""
STEPS = ("__call__", "_encode_plus", "_batch_encode_plus", "_batch_prepare_for_model", "prepare_for_model")
"""What leads from texts to rows in tokenizers written in Python; releases of transformers have some or all of it."""
PROBES = (("a", "b"), ("what is a query?", "A document, of two sentences. It is longer"))


@dataclass(frozen=True, slots=True)
class Padding:
    """How rows of different length become one array."""

    pad_id: int = 0
    segments: bool = False
    """Whether the model is given token type ids."""
    side: Side = "right"


class PromptedText(str):
    """A text that a prompt will stand before, with `prompted`: both together, tokenised.

    What is put before it can change a text's tokens, so they are of no use for the text alone; a user's own loss sees
    the text alone.
    """

    prompted: TokenizedText

    def __new__(cls, text: str, prompted: TokenizedText) -> PromptedText:
        self = super().__new__(cls, text)
        self.prompted = prompted
        return self

    def __getnewargs__(self) -> tuple[str, TokenizedText]:  # type: ignore[override]
        return str(self), self.prompted


@dataclass(frozen=True, slots=True, eq=False)
class TypedEncoded(Encoded):
    """A row whose type ids are not simply 0 for the first text and 1 for the second, as XLNet's."""

    types: IntArray
    """Shape (tokens,)."""


class PairEncoder:
    """Encodes pairs and single texts exactly as `tokenizer` would, up to `max_length` tokens.

    Fast tokenizers are copied, so that threads never meet in the user's one ("Already borrowed"); slow ones and those
    with an unusual template are called themselves, one thread at a time. Texts that carry their ids are not tokenised
    again where the encoder `joins`, nor are pairs anywhere whose second text carries the row.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> None:
        self._source = tokenizer
        self.max_length = max_length
        limit = tokenizer.model_max_length if max_length is None else max_length
        side: Side = "left" if tokenizer.truncation_side == "left" else "right"
        self._options = EncodeOptions(max_length=int(min(limit, NO_LIMIT)), side=side)
        self._lock = threading.Lock()
        self.pad_id: int = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        self.segments: bool = "token_type_ids" in tokenizer.model_input_names
        self._fast = self._copy()
        self._joins = self._fast is not None or prepares(tokenizer)
        if self._fast is not None:
            self.segments = self._fast.segments

    def __reduce__(self) -> tuple[type[PairEncoder], tuple[Any, ...]]:
        return PairEncoder, (self._source, self.max_length)

    @property
    def joins(self) -> bool:
        """Whether rows are made of the ids of each text; an unusual template or a tokenizer's own way prevent it."""
        return self._joins

    @property
    def settings(self) -> tuple[Any, ...]:
        """What tells, beside the texts, whether a row that another process made would be made here too."""
        return (type(self._source).__name__, len(self._source), self._options.max_length, self._options.side)

    @property
    def padding(self) -> Padding:
        """How the rows made here are padded."""
        side: Side = "left" if self._source.padding_side == "left" else "right"
        return Padding(self.pad_id, self.segments, side)

    def ids(self, texts: Sequence[str]) -> list[IntArray]:
        """Token ids of each text without special tokens, not cut: int32, shape (tokens,)."""
        known = self._known(texts)
        return [known[text] for text in texts]

    def pairs(self, pairs: Sequence[tuple[str, str]], prompt: str | None = None) -> list[Encoded]:
        """One row per pair, in order; `prompt` is put before the first text, character by character."""
        rows = [self._carried(first, second, prompt) for first, second in pairs]
        missing = [pair for pair, row in zip(pairs, rows, strict=True) if row is None]
        made = iter(self._pairs(missing, prompt) if missing else ())
        return [next(made) if row is None else row for row in rows]

    def with_rows(self, pairs: Sequence[tuple[str, str]], prompt: str | None = None) -> list[RowText]:
        """The second text of each pair, carrying what `pairs` gives for it."""
        rows, settings = self.pairs(pairs, prompt), self.settings
        return [
            RowText(second, (first, prompt or None, *settings), row)
            for (first, second), row in zip(pairs, rows, strict=True)
        ]

    def _carried(self, first: str, second: str, prompt: str | None) -> Encoded | None:
        if isinstance(second, RowText) and second.made_of == (first, prompt or None, *self.settings):
            return second.row
        return None

    def _pairs(self, pairs: Sequence[tuple[str, str]], prompt: str | None = None) -> list[Encoded]:
        """Rows that no text carries."""
        if prompt:
            pairs = [(behind(prompt, first), second) for first, second in pairs]
        if not self._joins or not all(isinstance(text, str) for pair in pairs for text in pair):
            return self._slow([pair[0] for pair in pairs], [pair[1] for pair in pairs], self._options)
        known = self._known(text for pair in pairs for text in pair)
        return [self._join(known[first], known[second]) for first, second in pairs]

    def singles(self, texts: Sequence[str], prompt: str | None = None) -> list[Encoded]:
        """One row per single text, in order."""
        if prompt:
            texts = [behind(prompt, text) for text in texts]
        if self._fast is None or not all(isinstance(text, str) for text in texts):
            return self._slow(list(texts), None, self._options)
        known = self._known(texts)
        return [self._fast.wrap(known[text], self._options) for text in texts]

    def _known(self, texts: Iterable[str]) -> dict[str, IntArray]:
        """Ids by text, each distinct text once and those that carry their ids not at all."""
        known: dict[str, IntArray] = {}
        unknown: dict[str, None] = {}
        for text in texts:
            if isinstance(text, TokenizedText):
                known[text] = text.ids
            else:
                unknown[text] = None
        missing = [text for text in unknown if text not in known]
        known.update(zip(missing, self._tokenize(missing), strict=True))
        return known

    def _tokenize(self, texts: list[str]) -> list[IntArray]:
        if not texts:
            return []
        if self._fast is not None:
            return self._fast.ids(texts)
        with self._lock:
            rows = self._source(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return [np.array(row, dtype=np.int32) for row in rows]

    def _join(self, first: IntArray, second: IntArray) -> Encoded:
        """The row of two texts with these ids."""
        if self._fast is not None:
            return self._fast.join(first, second, self._options)
        with self._lock:
            found = self._source.prepare_for_model(
                first.tolist(),
                second.tolist(),
                truncation="longest_first",
                max_length=self._options.max_length,
                return_attention_mask=False,
                return_token_type_ids=self.segments,
            )
        return _row(found["input_ids"], found["token_type_ids"] if self.segments else None)

    def _slow(self, firsts: list[str], seconds: list[str] | None, options: EncodeOptions) -> list[Encoded]:
        """Rows from the tokenizer itself, for what the copy does not cover. Raises what it raises."""
        if not firsts:
            return []
        with self._lock:
            found = self._source(
                firsts,
                seconds,
                truncation="longest_first",
                max_length=options.max_length,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=self.segments,
            )
        types = found["token_type_ids"] if self.segments else [None] * len(firsts)
        return [_row(ids, kinds) for ids, kinds in zip(found["input_ids"], types, strict=True)]

    def _copy(self) -> PairTokenizer | None:
        """A private copy of a fast tokenizer, if it gives the same rows on the probes."""
        if not getattr(self._source, "is_fast", False):
            return None
        backend = Tokenizer.from_str(self._source.backend_tokenizer.to_str())
        name = self._source.name_or_path or "tokenizer"
        try:
            fast = PairTokenizer.of(backend, name, pad_id=self.pad_id, segments=self.segments)
        except ArtifactError:
            return None
        whole = EncodeOptions(NO_LIMIT)
        theirs = self._slow([first for first, _ in PROBES], [second for _, second in PROBES], whole)
        return fast if _same(fast.encode_pairs(PROBES, whole), theirs, fast.segments) else None


def behind(prompt: str, text: str) -> str:
    """`prompt` and `text` as one text, tokenised if `text` came with the tokens of both."""
    whole = prompt + text
    return text.prompted if isinstance(text, PromptedText) and text.prompted == whole else whole


def prepares(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer written in Python makes the row of a pair from nothing but the ids of each text."""
    kind, plain = type(tokenizer), PreTrainedTokenizer
    return issubclass(kind, plain) and all(getattr(kind, step, None) is getattr(plain, step, None) for step in STEPS)


def row_types(row: Encoded) -> IntArray:
    """Type ids of a row, shape (tokens,)."""
    if isinstance(row, TypedEncoded):
        return row.types
    return (np.arange(len(row)) >= row.split).astype(np.int32)


def _row(ids: Sequence[int], types: Sequence[int] | None) -> Encoded:
    array = np.array(ids, dtype=np.int32)
    if types is None:
        return Encoded(array, len(array), len(array))
    kinds = np.array(types, dtype=np.int32)
    split = int(np.argmax(kinds)) if kinds.any() else len(kinds)
    if np.array_equal(kinds, np.arange(len(kinds)) >= split):
        return Encoded(array, split, len(array))
    return TypedEncoded(array, split, len(array), kinds)


def _same(ours: Sequence[Encoded], theirs: Sequence[Encoded], segments: bool) -> bool:
    """Whether both give the same ids and, where the model takes them, the same type ids (all zeros count as none)."""
    return all(
        np.array_equal(mine.ids, other.ids)
        and np.array_equal(row_types(mine) if segments else np.zeros(len(mine)), row_types(other))
        for mine, other in zip(ours, theirs, strict=True)
    )
