"""Prometheus metrics. Every series exists from the first scrape on; labels come from fixed sets only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

ENDPOINTS = ("rerank", "score", "classify")
OUTCOMES = ("ok", "client_error", "refused", "timeout", "disconnected", "server_error")
STAGES = ("tokenize", "queue", "inference", "total")
REFUSALS = ("overloaded", "deadline_unreachable", "unavailable")
LOOKUPS = ("hit", "miss")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per series, and nobody asks when a counter was created


class Metrics:
    """The service's metrics, in a registry of their own so that two apps in one process do not collide."""

    def __init__(self, models: Iterable[str]) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "reranker_requests", "Requests by endpoint and outcome.", ["endpoint", "outcome"], registry=registry
        )
        self.latency = Histogram(
            "reranker_latency_seconds",
            "Latency of answered requests by stage; queue and inference are means over the items.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.refusals = Counter(
            "reranker_refusals", "Requests refused before any work, by reason.", ["reason"], registry=registry
        )
        self.queue_requests = Gauge(
            "reranker_queue_requests", "Admitted requests without answer.", ["model"], registry=registry
        )
        self.queue_tokens = Gauge(
            "reranker_queue_tokens", "Admitted tokens not yet scored.", ["model"], registry=registry
        )
        self.batch_rows = Histogram(
            "reranker_batch_rows", "Rows per batch.", ["model"], buckets=ROWS, registry=registry
        )
        self.batch_tokens = Histogram(
            "reranker_batch_tokens",
            "Tokens per batch, padding included.",
            ["model"],
            buckets=TOKENS,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "reranker_batch_seconds", "Duration of one forward.", ["model"], buckets=SECONDS, registry=registry
        )
        self.tokens = Counter("reranker_tokens", "Scored tokens, without padding.", ["model"], registry=registry)
        self.padding = Counter(
            "reranker_padding_tokens", "Padding computed along: the waste.", ["model"], registry=registry
        )
        self.cache_lookups = Counter(
            "reranker_score_cache_lookups",
            "Items looked up in the score cache.",
            ["model", "result"],
            registry=registry,
        )
        self.cache_bytes = Gauge("reranker_score_cache_bytes", "Memory of the score cache.", registry=registry)
        self.ready = Gauge("reranker_ready", "1 while the service accepts work.", registry=registry)
        self.model_info = Gauge(
            "reranker_model_info",
            "The models that are served; always 1.",
            ["model", "backend", "device", "source"],
            registry=registry,
        )
        self._create_series(models)

    def watch(self, model: str, requests: Callable[[], float], tokens: Callable[[], float]) -> None:
        """Reads a model's queue depth at scrape time."""
        self.queue_requests.labels(model).set_function(requests)
        self.queue_tokens.labels(model).set_function(tokens)

    def observe_batch(self, model: str, rows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        """Records one scored batch."""
        self.batch_rows.labels(model).observe(rows)
        self.batch_tokens.labels(model).observe(padded_tokens)
        self.batch_seconds.labels(model).observe(seconds)
        self.tokens.labels(model).inc(tokens)
        self.padding.labels(model).inc(padded_tokens - tokens)

    def count_lookups(self, model: str, hits: int, misses: int) -> None:
        """Records what a request found in the score cache."""
        self.cache_lookups.labels(model, "hit").inc(hits)
        self.cache_lookups.labels(model, "miss").inc(misses)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)

    def _create_series(self, models: Iterable[str]) -> None:
        for endpoint in ENDPOINTS:
            for outcome in OUTCOMES:
                self.requests.labels(endpoint, outcome)
        for stage in STAGES:
            self.latency.labels(stage)
        for reason in REFUSALS:
            self.refusals.labels(reason)
        for model in models:
            for series in (self.queue_requests, self.queue_tokens, self.batch_rows, self.batch_tokens):
                series.labels(model)
            for result in LOOKUPS:
                self.cache_lookups.labels(model, result)
            for other in (self.batch_seconds, self.tokens, self.padding):
                other.labels(model)
