"""Pair encoding on `tokenizers`: the ids that `transformers` would give, with each text tokenised once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from app.errors import ArtifactError, InputTooLong, ValidationError
from app.model.types import Batch, Encoded, EncodeOptions, IntArray, Side, Truncation


class PairTokenizer:
    """Encodes (query, document) pairs and single texts for one model. Safe to share between threads.

    The texts are tokenised without special tokens, cut as id arrays and assembled with the special tokens
    that the tokenizer's own template adds, so a query is tokenised once however many documents it meets.
    Nothing in the underlying tokenizer is changed after construction, hence no "Already borrowed".
    """

    def __init__(self, path: Path, *, pad_id: int, segments: bool) -> None:
        """`segments`: whether the model distinguishes the two texts by token type ids."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # `tokenizers` raises bare Exception
            raise ArtifactError(f"{path}: not a readable tokenizer ({error}); save the model again") from error
        self._adopt(tokenizer, path, pad_id, segments)

    @classmethod
    def of(cls, tokenizer: Tokenizer, name: str, *, pad_id: int, segments: bool) -> PairTokenizer:
        """From a `tokenizers.Tokenizer` that nobody else uses from here on; `name` stands in the ArtifactError."""
        self = cls.__new__(cls)
        self._adopt(tokenizer, name, pad_id, segments)
        return self

    def _adopt(self, tokenizer: Tokenizer, name: Path | str, pad_id: int, segments: bool) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.pad_id = pad_id
        self._pair = _Template.of_pair(tokenizer, name)
        # A template without type ids (RoBERTa's) gives zeros whatever the model would take.
        self.segments = segments and self._pair.typed
        self._single = _Template.of_single(tokenizer, name)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def pair_overhead(self) -> int:
        """Special tokens that a pair carries."""
        return self._pair.overhead

    def encode(self, query: str, documents: Sequence[str], options: EncodeOptions) -> list[Encoded]:
        """One `Encoded` per document, in order, each paired with `query`.

        Raises InputTooLong when `only_second` leaves no room beside the query.
        """
        head, *tails = self.ids([query, *documents])
        return [self.join(head, tail, options) for tail in tails]

    def encode_slices(
        self, query: str, documents: Sequence[str], options: EncodeOptions, cuts: Iterable[tuple[int, int]]
    ) -> Iterator[list[Encoded]]:
        """`encode` in slices of documents from `start` to `end`, each computed when it is asked for."""
        (head,) = self.ids([query])
        for start, end in cuts:
            yield [self.join(head, tail, options) for tail in self.ids(documents[start:end])]

    def encode_inputs(self, inputs: Sequence[str | tuple[str, str]], options: EncodeOptions) -> list[Encoded]:
        """Single texts and pairs mixed, in order."""
        texts = iter(self.encode_texts([item for item in inputs if isinstance(item, str)], options))
        pairs = iter(self.encode_pairs([item for item in inputs if not isinstance(item, str)], options))
        return [next(texts) if isinstance(item, str) else next(pairs) for item in inputs]

    def encode_pairs(self, pairs: Sequence[tuple[str, str]], options: EncodeOptions) -> list[Encoded]:
        """One `Encoded` per pair, in order; a text that recurs is tokenised once."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        ids = dict(zip(texts, self.ids(texts), strict=True))
        return [self.join(ids[first], ids[second], options) for first, second in pairs]

    def encode_texts(self, texts: Sequence[str], options: EncodeOptions) -> list[Encoded]:
        """One `Encoded` per single text (classification without a pair), in order."""
        return [self.wrap(ids, options) for ids in self.ids(texts)]

    def wrap(self, ids: IntArray, options: EncodeOptions) -> Encoded:
        """The single text with these `ids`, cut and between its special tokens."""
        template = self._single
        kept = _cut(ids, max(0, options.max_length - template.overhead), options.side)
        joined = np.concatenate((template.before, kept, template.after))
        return Encoded(joined, len(joined), len(ids) + template.overhead)

    def pad(self, rows: Sequence[Encoded]) -> Batch:
        """Right-padded int64 arrays of shape (rows, longest): input_ids, attention_mask, token_type_ids."""
        width = max(map(len, rows))
        input_ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        attention_mask = np.zeros((len(rows), width), dtype=np.int64)
        token_type_ids = np.zeros((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = row.ids
            attention_mask[i, : len(row)] = 1
            if self.segments:
                token_type_ids[i, row.split : len(row)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}

    def ids(self, texts: Sequence[str]) -> list[IntArray]:
        """Token ids of each text, without special tokens and not cut: int32, shape (tokens,)."""
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError as error:
            if not all(isinstance(text, str) for text in texts):
                raise
            raise ValidationError("a text holds half of a surrogate pair, which is not valid Unicode") from error
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def join(self, query: IntArray, document: IntArray, options: EncodeOptions) -> Encoded:
        """The pair of the texts with these ids, cut and between its special tokens. Raises InputTooLong as `encode`."""
        template = self._pair
        if options.max_document_tokens is not None:
            document = _cut(document, options.max_document_tokens, options.side)
        full_length = len(query) + len(document) + template.overhead
        keep = truncated_lengths(len(query), len(document), options.max_length - template.overhead, options.truncation)
        ids = np.concatenate(
            (
                template.before,
                _cut(query, keep.query, options.side),
                template.between,
                _cut(document, keep.document, options.side),
                template.after,
            )
        )
        return Encoded(ids, len(template.before) + keep.query + template.first_between, full_length)


class Kept(NamedTuple):
    """Token counts that survive truncation."""

    query: int
    document: int


def truncated_lengths(query: int, document: int, room: int, strategy: Truncation) -> Kept:
    """How many tokens of each text stay so that both fit into `room` (special tokens already deducted).

    `longest_first` shortens the longer text until both are equal, then both; an odd token goes to the longer
    one. `only_second` shortens the document alone and raises InputTooLong when the query leaves no room for it.
    """
    if query + document <= room:
        return Kept(query, document)
    if strategy == "only_second":
        if query >= room:
            raise InputTooLong(
                f"the query has {query} tokens, which leaves no room for a document in {room}; "
                "shorten it or use longest_first truncation"
            )
        return Kept(query, room - query)
    room = max(0, room)
    shorter = min(query, document)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return Kept(shorter, longer) if query <= document else Kept(longer, shorter)


def _cut(ids: IntArray, keep: int, side: Side) -> IntArray:
    if len(ids) <= keep:
        return ids
    return ids[:keep] if side == "right" else ids[len(ids) - keep :]


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens around the texts: `before` A `between` B `after`."""

    before: IntArray
    between: IntArray
    after: IntArray
    first_between: int
    """How many of the tokens between the texts still carry the first segment's type id."""
    typed: bool
    """Whether the template tells the two texts apart by type ids."""

    @property
    def overhead(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    @classmethod
    def of_pair(cls, tokenizer: Tokenizer, name: Path | str) -> _Template:
        probe = tokenizer.encode("a", "b")
        ids, types = np.array(probe.ids, dtype=np.int32), np.array(probe.type_ids)
        first, second = _span(probe.sequence_ids, 0), _span(probe.sequence_ids, 1)
        if first is None or second is None or first[1] > second[0]:
            raise ArtifactError(f"{name}: its template does not encode a pair as query, document")
        # Where no text has type ids (RoBERTa) the boundary has no meaning, only a position.
        boundary = int(np.argmax(types)) if types.any() else second[0]
        split = (np.arange(len(ids)) >= boundary) & types.any()
        if not np.array_equal(types, split) or not first[1] <= boundary <= second[0]:
            raise ArtifactError(f"{name}: its token type ids are not 0 for the query and 1 for the document")
        return cls(ids[: first[0]], ids[first[1] : second[0]], ids[second[1] :], boundary - first[1], bool(types.any()))

    @classmethod
    def of_single(cls, tokenizer: Tokenizer, name: Path | str) -> _Template:
        probe = tokenizer.encode("a")
        ids, span = np.array(probe.ids, dtype=np.int32), _span(probe.sequence_ids, 0)
        if span is None:
            raise ArtifactError(f"{name}: it gives no token for the text 'a'")
        empty = ids[:0]
        return cls(ids[: span[0]], empty, ids[span[1] :], 0, False)


def _span(sequence_ids: Sequence[int | None], sequence: int) -> tuple[int, int] | None:
    """First and one-past-last position of a text's tokens."""
    positions = [i for i, owner in enumerate(sequence_ids) if owner == sequence]
    return (positions[0], positions[-1] + 1) if positions else None
