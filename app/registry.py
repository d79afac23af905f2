"""The models of this process: loading, warming up, finding, shutting down."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePath

import numpy as np

from app.batching.batcher import BatchReport, MicroBatcher, QueueLimits
from app.config import Settings
from app.errors import ConfigError, NotFound, Unavailable
from app.lifecycle import Lifecycle
from app.metrics import Metrics
from app.model.artifact import Artifact
from app.model.backends import Backend, BackendOptions
from app.model.batch_budget import DEFAULT_BUDGET
from app.model.bucketing import Budget
from app.model.cpus import available_cpus
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions
from app.model.parity import ParityPolicy
from app.model.tuning import Tuned, Tuner
from app.model.tuning_cache import TuningCache
from app.model.types import Encoded
from app.score_cache import ModelScores, ScoreCache
from app.service import ScoringService

log = logging.getLogger(__name__)

GPU_BATCH_TOKENS = 16384


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
        self._scores = ScoreCache(settings.score_cache_mb * 1_000_000)
        metrics.cache_bytes.set_function(lambda: self._scores.used_bytes)
        self.services: dict[str, ScoringService] = {}

    def load(self) -> None:
        """Loads and warms up every model. Raises StartupError; blocks for as long as loading takes."""
        loaded = {name: self._load(model) for name, model in parse_models(self._settings.model).items()}
        self.services = {name: self._serve(name, tuned) for name, tuned in loaded.items()}

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

    def _load(self, model: str) -> Tuned:
        settings = self._settings
        options = BackendOptions(
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
            compile=settings.compile,
            providers=settings.providers,
            graph=settings.graph,
        )
        parity = ParityPolicy(
            settings.parity_policy, settings.parity_max_difference or None, settings.parity_min_tau or None
        )
        rows_to_measure = 0 if settings.max_batch_tokens else settings.max_batch_rows
        tuner = Tuner(options, parity, TuningCache.at(settings.cache_dir), rows_to_measure)
        hub = HubOptions(
            revision=settings.revision or None,
            token=settings.hub_token or None,
            local_files_only=settings.hub_local_files_only,
        )
        return tuner.load(model, settings.backend, hub, self._limited)

    def _limited(self, artifact: Artifact, backend: Backend) -> CrossEncoder:
        """The model with the configured limits."""
        settings = self._settings
        side = None if settings.truncation_side == "auto" else settings.truncation_side
        return CrossEncoder.of(artifact, backend, settings.max_length or None, settings.truncation, side)

    def _serve(self, name: str, tuned: Tuned) -> ScoringService:
        settings, metrics, model = self._settings, self._metrics, tuned.model

        def observe(report: BatchReport) -> None:
            metrics.observe_batch(name, report.rows, report.tokens, report.padded_tokens, report.seconds)

        batcher = MicroBatcher(
            model,
            batch_budget(settings, model.backend.device, tuned.max_batch_tokens),
            QueueLimits(settings.max_pending_requests, settings.max_pending_tokens),
            observe,
            self._lifecycle.fail,
        )
        warm_up(model, batcher)
        metrics.watch(name, lambda: batcher.pending_requests, lambda: batcher.pending_tokens)
        metrics.model_info.labels(name, model.backend.name, model.backend.device, model.backend.source).set(1)
        log.info(
            "model ready",
            extra={
                "model": name,
                "source": f"{model.artifact.directory.name}/{model.backend.source}",
                "backend": model.backend.name,
                "device": model.backend.device,
                "max_batch_tokens": batcher.budget.max_tokens,
                "tokens_per_s": round(batcher.rate.tokens_per_s),
            },
        )
        return ScoringService(
            name,
            model,
            batcher,
            self._encoders,
            settings.max_documents,
            settings.max_text_characters,
            self._scores_of(name, model) if settings.score_cache_mb else None,
        )

    def _scores_of(self, name: str, model: CrossEncoder) -> ModelScores:
        identity = f"{name} {model.artifact.digest()} {model.backend.name} {model.backend.source}"
        return ModelScores(self._scores, identity, partial(self._metrics.count_lookups, name))


def batch_budget(settings: Settings, device: str, measured_tokens: int | None) -> Budget:
    """The configured batch limits; of tokens what was measured, or else what suits the device."""
    default = measured_tokens or (DEFAULT_BUDGET if device == "cpu" else GPU_BATCH_TOKENS)
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
