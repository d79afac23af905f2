"""The whole application in this process, on tiny models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.config import Settings
from app.main import create_app


def start(**settings: Any) -> TestClient:
    """A client of an application; enter it to start the service, then `wait_ready`."""
    return TestClient(create_app(Settings(**settings)), raise_server_exceptions=False)


def wait_ready(client: TestClient) -> TestClient:
    """Returns the client once every model is warmed up."""
    deadline = time.monotonic() + 20
    while client.get("/ready").status_code != 200:
        assert time.monotonic() < deadline, "never became ready"
        time.sleep(0.01)
    return client


def application(client: TestClient) -> FastAPI:
    """The application behind a client."""
    assert isinstance(client.app, FastAPI)
    return client.app


@pytest.fixture(scope="module")
def models(reranker_dir: Path, classifier_dir: Path, multilabel_dir: Path) -> tuple[str, ...]:
    """--model values: a reranker, a classifier, a multi-label classifier."""
    return f"rr={reranker_dir}", f"nli={classifier_dir}", f"tags={multilabel_dir}"


@pytest.fixture(scope="module")
def client(models: tuple[str, ...]) -> Iterator[TestClient]:
    """A ready service with three models and default settings."""
    with start(model=models, max_documents=200, max_body_bytes=100_000) as running:
        yield wait_ready(running)
