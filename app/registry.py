"""The models of this process: loading, warming up, finding, shutting down."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath

import numpy as np

from app.batching.batcher import BatchReport, MicroBatcher, QueueLimits
from app.config import Settings
from app.errors import ConfigError, NotFound, Unavailable
from app.lifecycle import Lifecycle
from app.metrics import Metrics
from app.model.backends import BackendOptions
from app.model.bucketing import Budget
from app.model.cpus import available_cpus
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions
from app.model.types import Encoded
from app.service import ScoringService

log = logging.getLogger(__name__)

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 512, 16384


def parse_models(specifications: tuple[str, ...]) -> dict[str, str]:
    """Name to model, in order. A bare Hub id or `default` is its own name, a bare path goes by its last part."""
    models: dict[str, str] = {}
    for specification in specifications:
        name, separator, model = specification.partition("=")
        if not separator:
            name, model = specification, specification
            if specification.startswith((".", "/", "~")):
                name = PurePath(specification).name
        if not name or not model or name in models:
            raise ConfigError(f"--model {specification!r}: give each model one distinct name, as NAME=MODEL")
        models[name] = model
    return models


class Registry:
    """Loads the configured models and finds the one that a request asks for."""

    def __init__(self, settings: Settings, metrics: Metrics, lifecycle: Lifecycle) -> None:
        self._settings = settings
        self._metrics = metrics
        self._lifecycle = lifecycle
        # A slice is tokenised by one of our threads: if it spread over all cores, each would wait for every other.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._encoders = ThreadPoolExecutor(settings.tokenizer_threads or available_cpus(), "tokenize")
        self.services: dict[str, ScoringService] = {}

    def load(self) -> None:
        """Loads and warms up every model. Raises StartupError; blocks for as long as loading takes."""
        loaded = {name: self._load(model) for name, model in parse_models(self._settings.model).items()}
        self.services = {name: self._serve(name, model) for name, model in loaded.items()}

    def find(self, name: str | None) -> ScoringService:
        """The named model's service; the first for None or "default". Raises NotFound naming what there is."""
        if not self.services:
            raise Unavailable("the model is still loading; try again shortly")
        first = next(iter(self.services.values()))
        if name is None or name in self.services:
            return first if name is None else self.services[name]
        if name == "default":
            return first
        raise NotFound(f"model {name!r} is not served here; served: {', '.join(self.services)}")

    def abort(self, reason: str) -> None:
        """Answers everything that waits with Unavailable."""
        for service in self.services.values():
            service.batcher.abort(reason)

    def close(self) -> None:
        """Stops all threads after what is admitted has been scored."""
        for service in self.services.values():
            service.batcher.close()
        self._encoders.shutdown(cancel_futures=True)

    def _load(self, model: str) -> CrossEncoder:
        settings = self._settings
        return CrossEncoder.load(
            model,
            settings.backend,
            BackendOptions(
                device=settings.device,
                precision=settings.precision,
                threads=settings.threads,
                compile=settings.compile,
                providers=settings.providers,
                graph=settings.graph,
            ),
            HubOptions(
                revision=settings.revision or None,
                token=settings.hub_token or None,
                local_files_only=settings.hub_local_files_only,
            ),
            max_length=settings.max_length or None,
            truncation=settings.truncation,
            side=None if settings.truncation_side == "auto" else settings.truncation_side,
        )

    def _serve(self, name: str, model: CrossEncoder) -> ScoringService:
        settings, metrics = self._settings, self._metrics

        def observe(report: BatchReport) -> None:
            metrics.observe_batch(name, report.rows, report.tokens, report.padded_tokens, report.seconds)

        batcher = MicroBatcher(
            model,
            batch_budget(settings, model.backend.device),
            QueueLimits(settings.max_pending_requests, settings.max_pending_tokens),
            observe,
            self._lifecycle.fail,
        )
        warm_up(model, batcher)
        metrics.watch(name, lambda: batcher.pending_requests, lambda: batcher.pending_tokens)
        metrics.model_info.labels(name, settings.backend, model.backend.device, model.backend.source).set(1)
        log.info(
            "model ready",
            extra={
                "model": name,
                "source": f"{model.artifact.directory.name}/{model.backend.source}",
                "device": model.backend.device,
                "tokens_per_s": round(batcher.rate.tokens_per_s),
            },
        )
        return ScoringService(
            name, model, batcher, self._encoders, settings.max_documents, settings.max_text_characters
        )


def batch_budget(settings: Settings, device: str) -> Budget:
    """The configured batch limits, with the token default that suits the device."""
    default = CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS
    return Budget(settings.max_batch_tokens or default, settings.max_batch_rows, settings.min_batch_fill)


def warm_up(model: CrossEncoder, batcher: MicroBatcher) -> None:
    """Scores a short row and then a full batch, so that memory is allocated and the service rate is known."""
    budget = batcher.budget
    for length in (16, min(128, model.max_length, budget.max_tokens)):
        row = Encoded(np.full(length, model.artifact.pad_id, dtype=np.int32), length // 2, length)
        rows = [row] * budget.rows_at(length)
        batch = model.pad(rows)
        model.forward(batch)  # the first of a shape allocates and compiles: no measure of the speed
        started = time.monotonic()
        model.forward(batch)
        batcher.rate.add(length * len(rows), time.monotonic() - started)
