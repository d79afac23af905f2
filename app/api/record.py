"""What is known of one HTTP request: filled in along its way, then logged, counted and sent as headers."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

from app.errors import RerankerError
from app.service import Usage

REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
KEY = "reranker_record"


@dataclass(slots=True)
class Record:
    """One request. `status` and `error` stay unset until they are known."""

    id: str
    method: str
    path: str
    arrived_at: float = field(default_factory=time.monotonic)
    status: int = 0
    model: str = ""
    usage: Usage | None = None
    error: RerankerError | None = None
    in_flight: bool = False
    """Whether its body has arrived, so that a drain waits for its answer."""

    @classmethod
    def of(cls, scope: Scope, request_id: str) -> Record:
        """Creates the record of an HTTP scope; a well-formed id from the client is kept."""
        accepted = request_id if REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex
        record = cls(accepted, scope["method"], scope["path"])
        scope[KEY] = record
        return record

    @property
    def total_s(self) -> float:
        """Seconds since the request's headers were read."""
        return time.monotonic() - self.arrived_at

    @property
    def outcome(self) -> str:
        """One of `app.metrics.OUTCOMES`."""
        if not self.status:
            return "server_error"  # broken off before any answer
        if self.status < 400:
            return "ok"
        special = {429: "refused", 503: "refused", 504: "timeout", 499: "disconnected"}
        return special.get(self.status, "client_error" if self.status < 500 else "server_error")

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Request id and, once scored, timings in milliseconds: mean per item for queue and inference."""
        values = {"x-request-id": self.id}
        if self.usage is not None:
            values |= {
                "x-total-time": f"{self.total_s * 1e3:.3f}",
                "x-tokenization-time": f"{self.usage.tokenize_s * 1e3:.3f}",
                "x-queue-time": f"{self.usage.queue_s * 1e3:.3f}",
                "x-inference-time": f"{self.usage.inference_s * 1e3:.3f}",
            }
        return [(name.encode(), value.encode()) for name, value in values.items()]

    def fields(self) -> dict[str, Any]:
        """The canonical log line."""
        known: dict[str, Any] = {
            "request_id": self.id,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "outcome": self.outcome,
            "total_ms": round(self.total_s * 1e3, 3),
        }
        if self.model:
            known["model"] = self.model
        if self.usage is not None:
            known |= {
                "items": self.usage.items,
                "tokens": self.usage.tokens,
                "tokenize_ms": round(self.usage.tokenize_s * 1e3, 3),
                "queue_ms": round(self.usage.queue_s * 1e3, 3),
                "inference_ms": round(self.usage.inference_s * 1e3, 3),
            }
        if self.error is not None:
            known |= {"error_type": self.error.error_type, "error": str(self.error)[:500]}
        return known


def record_of(scope: Scope) -> Record:
    """The record that the middleware put there."""
    record: Record = scope[KEY]
    return record
