"""The application: `create_app(settings)` wires settings, metrics, models and routes together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import errors, native, operations
from app.api.middleware import RequestMiddleware
from app.config import Settings
from app.lifecycle import Lifecycle, Phase
from app.metrics import Metrics
from app.registry import Registry, parse_models

DESCRIPTION = "Cross-encoder scoring: rank documents for a query, score pairs, classify texts."


def create_app(settings: Settings, lifecycle: Lifecycle | None = None) -> FastAPI:
    """The service as an ASGI application. Models load in the background once it starts; /ready tells when.

    `lifecycle` lets the process that runs the application see and steer readiness, drain and failure.
    Raises ConfigError for contradictory model names.
    """
    lifecycle = lifecycle or Lifecycle()
    metrics = Metrics(parse_models(settings.model))
    registry = Registry(settings, metrics, lifecycle)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A daemon: a process that is told to stop while it loads does not wait for a download to end.
        threading.Thread(target=_load, args=(registry, lifecycle), name="load", daemon=True).start()
        yield
        await asyncio.to_thread(registry.close)

    app: FastAPI = FastAPIOffline(
        title="crossrank", version=version("crossrank"), description=DESCRIPTION, lifespan=lifespan
    )
    app.state.settings, app.state.metrics = settings, metrics
    app.state.lifecycle, app.state.registry = lifecycle, registry
    app.include_router(native.router)
    app.include_router(operations.router)
    errors.install(app)
    app.add_middleware(RequestMiddleware, settings=settings, metrics=metrics, lifecycle=lifecycle)
    return app


def _load(registry: Registry, lifecycle: Lifecycle) -> None:
    try:
        registry.load()
    except Exception as error:
        lifecycle.fail(error)
        return
    if lifecycle.phase is Phase.STARTING:
        lifecycle.phase = Phase.READY
