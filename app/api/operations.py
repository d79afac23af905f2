"""What operators and probes ask: GET /health, /ready, /info, /v1/models, /metrics."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from app.config import Settings
from app.errors import Unavailable
from app.lifecycle import Lifecycle, Phase
from app.registry import Registry
from app.service import ScoringService

router = APIRouter(tags=["operations"])


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Is the process alive?")
async def health() -> dict[str, str]:
    """200 as long as the event loop turns; says nothing about readiness."""
    return {"status": "ok"}


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Should traffic be sent here?")
async def ready(request: Request) -> Response:
    """200 once every model is warmed up; 503 while loading or draining and after a worker's death."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    is_ready = lifecycle.phase is Phase.READY
    return JSONResponse({"status": lifecycle.phase.value}, 200 if is_ready else 503)


@router.get("/info", summary="What is served, and with which limits")
async def info(request: Request) -> dict[str, Any]:
    """The models with labels, maximum length, backend and device; the limits in force; the version."""
    settings: Settings = request.app.state.settings
    registry = _loaded(request)
    limits = {
        "max_documents": settings.max_documents,
        "max_body_bytes": settings.max_body_bytes,
        "max_pending_requests": settings.max_pending_requests,
        "max_pending_tokens": settings.max_pending_tokens,
        "max_request_timeout_ms": settings.max_request_timeout_ms,
    }
    models = [_describe(service) for service in registry.services.values()]
    return {"name": "crossrank", "version": version("crossrank"), "models": models, "limits": limits}


@router.get("/v1/models", summary="Names of the served models")
async def models(request: Request) -> dict[str, Any]:
    """In the shape that OpenAI-style clients probe for; the first is the default."""
    data = [{"id": name, "object": "model", "owned_by": "crossrank"} for name in _loaded(request).services]
    return {"object": "list", "data": data}


@router.get("/metrics", summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    state = request.app.state
    state.metrics.ready.set(state.lifecycle.phase is Phase.READY)
    return Response(state.metrics.render(), headers={"content-type": CONTENT_TYPE_LATEST})


def _loaded(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    if not registry.services:
        raise Unavailable("the model is still loading; try again shortly")
    return registry


def _describe(service: ScoringService) -> dict[str, Any]:
    model, budget = service.model, service.batcher.budget
    return {
        "id": service.name,
        "labels": list(model.artifact.labels),
        "max_length": model.max_length,
        "activation": model.artifact.activation,
        "backend": model.backend.name,
        "device": model.backend.device,
        "weights": model.backend.source,
        "max_batch_tokens": budget.max_tokens,
        "max_batch_rows": budget.max_rows,
        "tokens_per_s": round(service.batcher.rate.tokens_per_s),
    }
