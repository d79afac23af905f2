"""One request from texts to ranked scores: encode, admit, batch, activate, rank."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from app.batching.batcher import MicroBatcher, Scored
from app.errors import DeadlineExceeded, InputTooLong, PayloadTooLarge, ValidationError
from app.model.cross_encoder import CrossEncoder
from app.model.types import Encoded, EncodeOptions, FloatArray

SLICE = 64
"""Texts tokenised per turn of a worker thread, so that a long request does not hold up a short one."""


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
    _encoding_requests: int = 0
    _encoding_tokens: int = 0
    _tokens_per_character: float = field(default=0.3)

    async def rerank(self, query: str, documents: Sequence[str], options: Options) -> tuple[list[int], Prediction]:
        """Document indices, best first (by logit, ties by index), and the prediction in input order."""
        prediction = await self.score_documents(query, documents, options)
        return rank(prediction.logits), prediction

    async def score_documents(self, query: str, documents: Sequence[str], options: Options) -> Prediction:
        """One query against many documents; scores of shape (documents, 1) in input order."""
        self._require_single_label()
        slices = self.model.tokenizer.encode_slices(query, documents, self._encode_options(options), SLICE)
        characters = len(query) * len(documents) + sum(map(len, documents))
        return self._activate(await self._score(slices, len(documents), characters, options), options)

    async def score_pairs(self, pairs: Sequence[tuple[str, str]], options: Options) -> Prediction:
        """Independent pairs; scores of shape (pairs, 1) in input order."""
        self._require_single_label()
        return await self.classify(pairs, options)

    async def classify(self, inputs: Sequence[str | tuple[str, str]], options: Options) -> Prediction:
        """Single texts or pairs; scores of shape (inputs, labels): softmax, or sigmoid where labels are independent."""
        slices = self._encode_inputs(inputs, self._encode_options(options))
        characters = sum(len(item) if isinstance(item, str) else len(item[0]) + len(item[1]) for item in inputs)
        scored = await self._score(slices, len(inputs), characters, options)
        if self.model.num_labels == 1:
            return self._activate(scored, options)
        return self._activate(scored, options, "sigmoid" if self.model.artifact.multi_label else "softmax")

    def _require_single_label(self) -> None:
        if self.model.num_labels != 1:
            raise ValidationError(
                f"model {self.name!r} has {self.model.num_labels} labels and gives no single relevance score; "
                "use /classify, or name a reranker in 'model'"
            )

    def _encode_options(self, options: Options) -> EncodeOptions:
        return replace(self.model.options, max_document_tokens=options.max_document_tokens)

    def _encode_inputs(
        self, inputs: Sequence[str | tuple[str, str]], options: EncodeOptions
    ) -> Iterator[list[Encoded]]:
        for start in range(0, len(inputs), SLICE):
            yield self.model.tokenizer.encode_inputs(inputs[start : start + SLICE], options)

    def _activate(self, scored: tuple[Scored, Usage], options: Options, activation: str | None = None) -> Prediction:
        logits = scored[0].logits
        scores = logits if options.raw_scores else self.model.activate(logits, activation)
        return Prediction(scores, logits, scored[1])

    async def _score(
        self, slices: Iterator[list[Encoded]], items: int, characters: int, options: Options
    ) -> tuple[Scored, Usage]:
        """Encodes, admits and awaits the logits. Abandoned by deadline or caller, nothing of it stays queued."""
        if items > self.max_documents:
            raise PayloadTooLarge(
                f"the request has {items} items and the limit is {self.max_documents}; split it into several requests"
            )
        submission = None
        if options.remaining_s <= 0:
            raise _deadline_exceeded(options)
        try:
            async with asyncio.timeout(options.remaining_s):
                rows, tokenize_s = await self._encode(slices, items, characters, options)
                submission = self.batcher.submit(rows, options.remaining_s)
                scored = await asyncio.wrap_future(submission.future)
        except TimeoutError:
            raise _deadline_exceeded(options) from None
        finally:
            if submission is not None:
                self.batcher.cancel(submission)
        usage = Usage(items, sum(map(len, rows)), tokenize_s, scored.queue_s, scored.inference_s)
        return scored, usage

    async def _encode(
        self, slices: Iterator[list[Encoded]], items: int, characters: int, options: Options
    ) -> tuple[list[Encoded], float]:
        """Tokenises in worker threads, after asking whether there is room for about as many tokens."""
        most = min(items * self.model.max_length, self.batcher.limits.max_pending_tokens)
        estimate = min(int(characters * self._tokens_per_character), most)
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
        if not options.truncate:
            self._refuse_long(rows)
        if characters > 1000:
            measured = sum(row.full_length for row in rows) / characters
            self._tokens_per_character += 0.1 * (measured - self._tokens_per_character)
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


def rank(logits: FloatArray) -> list[int]:
    """Indices of (items, 1) logits, best first, ties by index."""
    return np.argsort(-logits[:, 0], kind="stable").tolist() if len(logits) else []
