"""The cross-encoder itself: encode, pad, forward, activate; `predict` is the four over tight batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.errors import ArtifactError, ConfigError, RerankerError
from app.model.activations import ACTIVATIONS
from app.model.artifact import Artifact, check_logits, read_artifact
from app.model.backends import Backend, BackendOptions, Preparing, Streaming, backend_class
from app.model.bucketing import Budget, cut_batches
from app.model.hub import HubOptions, resolve
from app.model.messages import first_line
from app.model.streams import each, shared_out
from app.model.tokenizer import PairTokenizer
from app.model.types import Batch, Encoded, EncodeOptions, FloatArray, Side, Truncation


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """A loaded model. Immutable and safe to call from several threads."""

    artifact: Artifact
    tokenizer: PairTokenizer
    backend: Backend
    options: EncodeOptions

    @classmethod
    def load(
        cls,
        model: str | Path,
        backend: str = "onnx",
        options: BackendOptions | None = None,
        hub: HubOptions | None = None,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        side: Side | None = None,
    ) -> CrossEncoder:
        """Loads a directory, `default` or a Hub id. Raises ArtifactError or ConfigError with one clear line.

        `max_length` lowers the model's own limit on tokens per pair; `side` None is the tokenizer's own setting.
        """
        options, hub = options or BackendOptions(), hub or HubOptions()
        runtime = backend_class(backend)
        artifact = read_artifact(resolve(str(model), hub, lambda names: runtime.select_weights(names, options)))
        return cls.of(artifact, runtime(artifact, options), max_length, truncation, side)

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        backend: Backend,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        side: Side | None = None,
    ) -> CrossEncoder:
        """`artifact` on a backend that has loaded it, once a first forward has shown that the two fit together.

        Raises ArtifactError or ConfigError; the limits are those of `load`.
        """
        tokenizer = PairTokenizer(artifact.tokenizer_file, pad_id=artifact.pad_id, segments=artifact.segments)
        limit = artifact.max_length if max_length is None else min(artifact.max_length, max_length)
        if limit <= tokenizer.pair_overhead:
            raise ConfigError(
                f"max_length {limit} leaves no room for text beside {tokenizer.pair_overhead} special tokens"
            )
        loaded = cls(artifact, tokenizer, backend, EncodeOptions(limit, truncation, side or artifact.truncation_side))
        loaded._probe()
        return loaded

    @property
    def max_length(self) -> int:
        """Most tokens of a pair, special tokens included."""
        return self.options.max_length

    @property
    def num_labels(self) -> int:
        """Number of logits per row."""
        return self.artifact.num_labels

    def encode_options(self, max_document_tokens: int | None = None) -> EncodeOptions:
        """The model's options with a limit on each document's tokens."""
        return replace(self.options, max_document_tokens=max_document_tokens)

    def pad(self, rows: Sequence[Encoded]) -> Batch:
        """A padded batch of shape (rows, longest), of which the backend does in advance what it can."""
        batch = self.tokenizer.pad(rows)
        return self.backend.prepare(batch) if isinstance(self.backend, Preparing) else batch

    def forward(self, batch: Batch) -> FloatArray:
        """Logits of shape (rows, labels), float32."""
        return self.backend.forward(batch)

    def activate(self, logits: FloatArray, name: str | None = None) -> FloatArray:
        """Scores from logits with the model's own activation, or another of the table; shape kept."""
        return ACTIVATIONS[name or self.artifact.activation](logits)

    def logits(self, rows: Sequence[Encoded], budget: Budget | None = None) -> FloatArray:
        """Logits (rows, labels) in input order, computed in length-sorted, token-budgeted batches."""
        out = np.empty((len(rows), self.num_labels), dtype=np.float32)
        lengths, budget = [len(row) for row in rows], budget or Budget()
        streams = self.backend.streams if isinstance(self.backend, Streaming) else 1
        if streams > 1:
            budget = shared_out(budget, sum(lengths), streams)

        def compute(indices: list[int]) -> None:
            out[indices] = self.forward(self.pad([rows[i] for i in indices]))

        each(compute, cut_batches(lengths, budget), streams)
        return out

    def predict(self, pairs: Sequence[tuple[str, str]], budget: Budget | None = None) -> FloatArray:
        """Scores of (query, document) pairs in input order: shape (pairs,) for one label, else (pairs, labels)."""
        scores = self.activate(self.logits(self.tokenizer.encode_pairs(pairs, self.options), budget))
        return scores[:, 0] if self.num_labels == 1 else scores

    def _probe(self) -> None:
        """One tiny forward of two unequal rows, so that an unfit graph is found at start and not by a user."""
        options = replace(self.options, truncation="longest_first")
        rows = self.tokenizer.encode_pairs([("a", "b"), ("a", "b c")], options)
        try:
            logits = self.forward(self.pad(rows))
        except RerankerError:
            raise
        except Exception as error:  # each runtime has its own classes
            raise ArtifactError(
                f"{self.artifact.directory / self.backend.source}: fails on its first batch ({first_line(error)}); "
                "export the model again"
            ) from error
        check_logits(self.artifact, logits, len(rows), self.backend.source)
