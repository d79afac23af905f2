"""Around every HTTP request: id, key, readiness, body limit, timings, one log line, metrics, last-resort 500."""

from __future__ import annotations

import hmac
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.api.errors import error_response
from app.api.record import Record
from app.config import Settings
from app.errors import ClientDisconnected, PayloadTooLarge, RerankerError, Unauthorized
from app.lifecycle import Lifecycle
from app.metrics import ENDPOINTS, REFUSALS, Metrics

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})
"""Answered without a key: probes and scrapers carry none."""
INFERENCE_PATHS = {f"/{name}": name for name in ENDPOINTS}


class RequestMiddleware:
    """Plain ASGI, so that nothing is buffered and the client's disconnect reaches the endpoint."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, lifecycle: Lifecycle) -> None:
        self._app = app
        self._keys = [key.encode() for key in settings.api_key]
        self._max_body_bytes = settings.max_body_bytes
        self._metrics = metrics
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record = Record.of(scope, headers.get("x-request-id", ""))
        try:
            await self._handle(scope, receive, send, headers, record)
        finally:
            self._lifecycle.in_flight -= record.in_flight
            self._account(record)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, headers: Headers, record: Record) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *record.headers()]
                if self._lifecycle.refusing:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self._check(record, headers)
            await self._app(scope, self._limited(receive), send_marked)
        except ClientDisconnected as error:
            record.status, record.error = error.status, error
        except RerankerError as error:
            record.error = error
            await error_response(error, record.id)(scope, receive, send_marked)
        except Exception as error:
            log.exception("unexpected error", extra={"request_id": record.id})
            record.error = RerankerError(f"internal error: {type(error).__name__}")
            if record.status:  # the answer has begun: all that is left is to break it off
                raise
            await error_response(record.error, record.id)(scope, receive, send_marked)

    def _check(self, record: Record, headers: Headers) -> None:
        # The raw path of the scope: one rebuilt from headers could be forged past the key (CVE-2026-48746).
        if self._keys and record.path not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            matches = [hmac.compare_digest(given.strip().encode(), key) for key in self._keys]  # all: no timing
            if scheme.lower() != "bearer" or not any(matches):
                raise Unauthorized("the API key is missing or wrong; send it as 'Authorization: Bearer KEY'")
        if record.path in INFERENCE_PATHS and record.method == "POST":
            self._lifecycle.require_ready()
        length = headers.get("content-length", "")
        if length.isdigit():
            self._check_size(int(length))

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise PayloadTooLarge(
                f"the body exceeds the limit of {self._max_body_bytes} bytes; split it into several requests"
            )

    def _limited(self, receive: Receive) -> Receive:
        """Counts a body that was sent without its length."""
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                self._check_size(received)
            return message

        return receive_counted

    def _account(self, record: Record) -> None:
        metrics, endpoint = self._metrics, INFERENCE_PATHS.get(record.path)
        if endpoint is not None:
            metrics.requests.labels(endpoint, record.outcome).inc()
            if record.error is not None and record.error.error_type in REFUSALS:
                metrics.refusals.labels(record.error.error_type).inc()
            if record.usage is not None and record.status == 200:
                metrics.latency.labels("tokenize").observe(record.usage.tokenize_s)
                metrics.latency.labels("queue").observe(record.usage.queue_s)
                metrics.latency.labels("inference").observe(record.usage.inference_s)
                metrics.latency.labels("total").observe(record.total_s)
        logs.requests.log(_level(record), "request", extra=record.fields())


def _level(record: Record) -> int:
    """Errors of ours stand out; what probes and scrapers ask every few seconds does not drown the rest."""
    if record.outcome == "server_error":
        return logging.ERROR
    return logging.DEBUG if record.path in OPEN_PATHS else logging.INFO
