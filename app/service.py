"""One request from texts to ranked scores: encode, admit, batch, activate, rank."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from app.batching.batcher import MicroBatcher, Scored
from app.batching.guess import TokenGuess
from app.errors import DeadlineExceeded, InputTooLong, PayloadTooLarge, ValidationError
from app.model.cross_encoder import CrossEncoder
from app.model.types import Encoded, EncodeOptions, FloatArray
from app.score_cache import ModelScores

SLICE, SLICE_CHARACTERS = 64, 100_000
"""Texts and characters tokenised per turn of a worker thread: a long request does not hold up a short one."""


@dataclass(frozen=True, slots=True)
class Options:
    """How one request wants its items handled. `timeout_s` counts from `arrived_at` (monotonic)."""

    timeout_s: float
    arrived_at: float
    truncate: bool = True
    raw_scores: bool = False
    max_document_tokens: int | None = None

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.arrived_at + self.timeout_s - time.monotonic()


@dataclass(slots=True)
class Usage:
    """What a request cost; seconds are means over its items, except for tokenising."""

    items: int = 0
    tokens: int = 0
    tokenize_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores (items, labels) as asked for, and the logits that any ranking must go by."""

    scores: FloatArray
    logits: FloatArray
    usage: Usage


@dataclass(slots=True)
class ScoringService:
    """One model behind its batcher. Lives on the event loop; tokenising runs in `encoders`."""

    name: str
    model: CrossEncoder
    batcher: MicroBatcher
    encoders: ThreadPoolExecutor
    max_documents: int
    max_text_characters: int
    cache: ModelScores | None = None
    _encoding_requests: int = 0
    _encoding_tokens: int = 0
    _guess: TokenGuess = field(default_factory=TokenGuess)

    async def rerank(self, query: str, documents: Sequence[str], options: Options) -> tuple[list[int], Prediction]:
        """Document indices, best first (by logit, ties by index), and the prediction in input order."""
        prediction = await self.score_documents(query, documents, options)
        return rank(prediction.logits), prediction

    async def score_documents(self, query: str, documents: Sequence[str], options: Options) -> Prediction:
        """One query against many documents; scores of shape (documents, 1) in input order."""
        self._require_single_label()
        self._check_sizes([query], documents)
        slices = self.model.tokenizer.encode_slices(query, documents, self._encode_options(options), cuts(documents))
        characters = len(query) * len(documents) + sum(map(len, documents))
        return self._activate(await self._score(slices, len(documents), characters, options), options)

    async def score_pairs(self, pairs: Sequence[tuple[str, str]], options: Options) -> Prediction:
        """Independent pairs; scores of shape (pairs, 1) in input order."""
        self._require_single_label()
        return self._activate(await self._score_inputs(pairs, options), options)

    async def classify(self, inputs: Sequence[str | tuple[str, str]], options: Options) -> Prediction:
        """Single texts or pairs; scores of shape (inputs, labels): softmax, or sigmoid where labels are independent."""
        exclusive = self.model.num_labels > 1 and not self.model.artifact.multi_label
        return self._activate(await self._score_inputs(inputs, options), options, "softmax" if exclusive else "sigmoid")

    def _require_single_label(self) -> None:
        if self.model.num_labels != 1:
            raise ValidationError(
                f"model {self.name!r} has {self.model.num_labels} labels and gives no single relevance score; "
                "use /classify, or name a reranker in 'model'"
            )

    def _encode_options(self, options: Options) -> EncodeOptions:
        return replace(self.model.options, max_document_tokens=options.max_document_tokens)

    async def _score_inputs(self, inputs: Sequence[str | tuple[str, str]], options: Options) -> tuple[Scored, Usage]:
        joined = [item if isinstance(item, str) else "".join(item) for item in inputs]
        self._check_sizes(joined)
        encode, encode_options = self.model.tokenizer.encode_inputs, self._encode_options(options)
        slices = (encode(inputs[start:end], encode_options) for start, end in cuts(joined))
        return await self._score(slices, len(inputs), sum(map(len, joined)), options)

    def _check_sizes(self, *texts: Sequence[str]) -> None:
        """A text is tokenised in one go that nobody can interrupt, so its size is bounded."""
        for sequence in texts:
            if len(sequence) > self.max_documents:
                raise PayloadTooLarge(
                    f"the request has {len(sequence)} items and the limit is {self.max_documents}; split it into "
                    "several requests"
                )
            for index, text in enumerate(sequence):
                if len(text) > self.max_text_characters:
                    raise PayloadTooLarge(
                        f"a text (number {index}) has {len(text)} characters and the limit is "
                        f"{self.max_text_characters}; the model reads only its first tokens, so send those"
                    )

    def _activate(self, scored: tuple[Scored, Usage], options: Options, activation: str | None = None) -> Prediction:
        logits = scored[0].logits
        scores = logits if options.raw_scores else self.model.activate(logits, activation)
        return Prediction(scores, logits, scored[1])

    async def _score(
        self, slices: Iterator[list[Encoded]], items: int, characters: int, options: Options
    ) -> tuple[Scored, Usage]:
        """Encodes, admits and awaits the logits. Abandoned by deadline or caller, nothing of it stays queued."""
        if not items:
            return Scored(np.empty((0, self.model.num_labels), dtype=np.float32), 0.0, 0.0), Usage()
        submission = None
        if options.remaining_s <= 0:
            raise _deadline_exceeded(options)
        try:
            async with asyncio.timeout(options.remaining_s):
                rows, tokenize_s = await self._encode(slices, items, characters, options)
                known = self.cache.look_up(rows) if self.cache is not None else None
                submission = self.batcher.submit(rows if known is None else known.missing, options.remaining_s)
                scored = await asyncio.wrap_future(submission.future)
        except TimeoutError:
            raise _deadline_exceeded(options) from None
        finally:
            if submission is not None:
                self.batcher.cancel(submission)
        if known is not None:
            scored = replace(scored, logits=known.complete(scored.logits))
        usage = Usage(items, sum(map(len, rows)), tokenize_s, scored.queue_s, scored.inference_s)
        return scored, usage

    async def _encode(
        self, slices: Iterator[list[Encoded]], items: int, characters: int, options: Options
    ) -> tuple[list[Encoded], float]:
        """Tokenises in worker threads, after asking whether there is room for about as many tokens."""
        per_item = min(self.model.max_length, options.max_document_tokens or self.model.max_length)
        most = min(items * per_item, self.batcher.limits.max_pending_tokens)
        estimate = min(self._guess.tokens(characters), most)
        self.batcher.check_room(estimate, options.remaining_s, (self._encoding_requests, self._encoding_tokens))
        self._encoding_requests += 1
        self._encoding_tokens += estimate
        started = time.monotonic()
        rows: list[Encoded] = []
        try:
            loop = asyncio.get_running_loop()
            while len(rows) < items:
                rows += await loop.run_in_executor(self.encoders, next, slices)
        finally:
            self._encoding_requests -= 1
            self._encoding_tokens -= estimate
        self._guess.add(characters, sum(row.full_length for row in rows))
        if not options.truncate:
            self._refuse_long(rows)
        return rows, time.monotonic() - started

    def _refuse_long(self, rows: Sequence[Encoded]) -> None:
        limit = self.model.max_length
        for index, row in enumerate(rows):
            if row.full_length > limit:
                raise InputTooLong(
                    f"item {index} has {row.full_length} tokens and the model takes {limit}; shorten it, set "
                    "max_tokens_per_doc, or allow truncation"
                )


def _deadline_exceeded(options: Options) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the time limit of {options.timeout_s:.3f} s passed before every item was scored; the rest was not computed"
    )


def cuts(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(start, end) of slices of at most SLICE texts and, except for a single longer text, SLICE_CHARACTERS."""
    start = characters = 0
    for index, text in enumerate(texts):
        if index > start and (index - start == SLICE or characters + len(text) > SLICE_CHARACTERS):
            yield start, index
            start, characters = index, 0
        characters += len(text)
    if start < len(texts):
        yield start, len(texts)


def rank(logits: FloatArray) -> list[int]:
    """Indices of (items, 1) logits, best first, ties by index."""
    return np.argsort(-logits[:, 0], kind="stable").tolist() if len(logits) else []
