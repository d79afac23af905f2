"""Refusals: one shape, the fitting status, and words that help."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.errors import DeadlineUnreachable, Overloaded
from app.lifecycle import Phase
from app.model.types import FloatArray
from tests.unit.api.conftest import application, start, wait_ready

GOOD = {"query": "capital of france", "documents": ["paris", "rome"]}


def assert_shape(body: dict[str, Any]) -> None:
    assert set(body) == {"error", "error_type", "message", "detail", "id"}
    assert body["error"] == body["message"] != ""


@pytest.mark.parametrize(
    ("content", "status", "error_type", "message"),
    [
        (b'{"query": "a", "documents"', 400, "bad_request", "Invalid JSON"),
        (b"", 400, "bad_request", "Invalid JSON"),
        (b'{"query": "\xff", "documents": []}', 400, "bad_request", "Invalid JSON"),
        (b'{"query": "\\ud800", "documents": []}', 400, "bad_request", "Invalid JSON"),
        (b"[]", 422, "validation", "Input should be"),
        (b'{"documents": ["a"]}', 422, "validation", "query: Field required"),
        (b'{"query": null, "documents": ["a"]}', 422, "validation", "query: Input should be a valid string"),
        (b'{"query": "a", "documents": "b"}', 422, "validation", "documents: must be a list"),
        (
            b'{"query": "a", "documents": ["b", 3]}',
            422,
            "validation",
            "documents: element 1 must be a string",
        ),
        (b'{"query": "a", "documents": [{"title": "b"}]}', 422, "validation", 'string field "text"'),
        (b'{"query": "a", "documents": ["b"], "top_n": 0}', 422, "validation", "top_n: Input should be greater"),
        (b'{"query": "a", "documents": ["b"], "model": "gpt"}', 404, "not_found", "served: rr, nli, tags"),
    ],
)
def test_a_wrong_body_is_named(client: TestClient, content: bytes, status: int, error_type: str, message: str) -> None:
    response = client.post("/rerank", content=content)
    assert response.status_code == status, response.text
    assert_shape(response.json())
    assert response.json()["error_type"] == error_type
    assert message in response.json()["message"]
    assert response.headers["x-request-id"] == response.json()["id"]


def test_the_detail_of_a_validation_error_lists_every_problem_with_its_place(client: TestClient) -> None:
    detail = client.post("/rerank", json={"documents": [1], "top_n": 0}).json()["detail"]
    assert [problem["loc"] for problem in detail] == [["body", "query"], ["body", "documents"], ["body", "top_n"]]
    assert all({"loc", "msg", "type"} == set(problem) for problem in detail)


def test_a_list_of_wrong_elements_does_not_make_a_huge_answer(client: TestClient) -> None:
    for path, body in (("/rerank", {"query": "a", "documents": [0] * 20_000}), ("/classify", {"input": [0] * 20_000})):
        response = client.post(path, json=body)
        assert response.status_code == 422
        assert len(response.content) < 10_000


def test_what_is_no_number_in_json_does_not_leave_the_service(client: TestClient) -> None:
    content = b'{"query":"a","documents":[{"text":"b","x":NaN,"y":1e999}],"return_documents":true}'
    response = client.post("/rerank", content=content)
    assert response.json()["results"][0]["document"] == {"text": "b", "x": None, "y": None}
    assert "NaN" not in response.text
    assert "Infinity" not in response.text


def test_the_content_type_does_not_matter(client: TestClient) -> None:
    response = client.post(
        "/rerank",
        content=b'{"query": "a", "documents": ["b"]}',
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert response.status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/rerank", 405)])
def test_wrong_routes_have_the_same_shape(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert_shape(response.json())
    assert "/docs" in response.json()["message"]


def test_too_many_items_and_too_large_a_body_are_413(client: TestClient) -> None:
    many = client.post("/rerank", json={"query": "a", "documents": ["b"] * 201})
    assert (many.status_code, many.json()["error_type"]) == (413, "payload_too_large")
    assert "limit is 200" in many.json()["message"]
    large = client.post("/rerank", json={"query": "a" * 100_001, "documents": []})
    assert (large.status_code, large.json()["error_type"]) == (413, "payload_too_large")


def test_a_large_body_without_a_length_is_413(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"query": "'
        for _ in range(200):
            yield b"a" * 1000
        yield b'", "documents": []}'

    response = client.post("/rerank", content=chunks())
    assert (response.status_code, response.json()["error_type"]) == (413, "payload_too_large")


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1.5", "²", "9" * 5000])
def test_a_wrong_timeout_header_is_named(client: TestClient, value: str) -> None:
    response = client.post("/rerank", json=GOOD, headers={"X-Request-Timeout-Ms": value.encode()})
    assert response.status_code == 422
    assert "x-request-timeout-ms" in response.json()["message"]


class TestRefusals:
    """429, 503 and 504, with what a client needs to come back in time."""

    def test_overload_is_429_with_retry_after(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object) -> None:
            raise Overloaded("full", retry_after_s=2.3)

        batcher = application(client).state.registry.find(None).batcher
        monkeypatch.setattr(batcher, "check_room", refuse)
        response = client.post("/rerank", json=GOOD)
        assert response.status_code == 429
        assert_shape(response.json())
        assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("3", "2300")

    def test_an_unreachable_deadline_is_503_with_retry_after(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: object) -> None:
            raise DeadlineUnreachable("late", retry_after_s=0.2)

        batcher = application(client).state.registry.find(None).batcher
        monkeypatch.setattr(batcher, "check_room", refuse)
        response = client.post("/rerank", json=GOOD)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error_type"] == "deadline_unreachable"

    def test_a_request_that_no_queue_could_take_is_413(self, models: tuple[str, ...]) -> None:
        with start(model=models[:1], max_pending_tokens=1100) as running:
            wait_ready(running)
            response = running.post("/rerank", json={"query": "a", "documents": ["paris " * 100] * 20})
            assert response.status_code == 413
            assert "pending" in response.json()["message"]

    def test_a_model_that_fails_is_a_500_naming_the_item(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The backend is replaced by one that gives NaN for one row."""
        service = application(client).state.registry.find(None)
        backend = service.model.backend
        forward = backend.forward

        def broken(batch: Any) -> FloatArray:
            logits: FloatArray = forward(batch)
            bad = (
                batch["input_ids"] == service.model.tokenizer.encode("dog", [""], service.model.options)[0].ids[1]
            ).any(axis=1)
            logits[bad] = math.nan
            return logits

        monkeypatch.setattr(backend, "forward", broken)
        response = client.post("/rerank", json={"query": "paris", "documents": ["cat", "dog", "cat"]})
        assert response.status_code == 500
        assert_shape(response.json())
        assert "item 1" in response.json()["message"]
        assert "NaN" not in response.text
        assert client.post("/rerank", json=GOOD).status_code == 200

    def test_a_deadline_that_passes_is_504(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """The backend is held back for longer than the request allows."""
        import time

        backend = application(client).state.registry.find(None).model.backend
        forward = backend.forward

        def slow(batch: Any) -> np.ndarray[Any, Any]:
            time.sleep(0.3)
            result: np.ndarray[Any, Any] = forward(batch)
            return result

        monkeypatch.setattr(backend, "forward", slow)
        response = client.post("/rerank", json=GOOD, headers={"X-Request-Timeout-Ms": "100"})
        assert response.status_code == 504
        assert_shape(response.json())
        assert response.json()["error_type"] == "deadline_exceeded"

    def test_nothing_is_taken_while_draining_or_after_the_workers_death(self, models: tuple[str, ...]) -> None:
        with start(model=models[:1]) as running:
            wait_ready(running)
            lifecycle = application(running).state.lifecycle
            lifecycle.phase = Phase.DRAINING
            assert running.get("/ready").status_code == 503
            assert running.post("/rerank", json=GOOD).status_code == 200, "traffic still arrives for a while"
            lifecycle.refusing = True
            response = running.post("/rerank", json=GOOD)
            assert (response.status_code, response.headers["connection"]) == (503, "close")
            assert "shutting down" in response.json()["message"]
            lifecycle.fail(RuntimeError("dead"))
            assert running.get("/ready").json() == {"status": "dead"}
            assert "died" in running.post("/rerank", json=GOOD).json()["message"]
            assert running.get("/health").status_code == 200

    def test_an_unexpected_exception_is_a_500_that_tells_nothing_secret(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(name: object) -> None:
            raise KeyError("secret")

        monkeypatch.setattr(application(client).state.registry, "find", broken)
        response = client.post("/rerank", json=GOOD)
        assert response.status_code == 500
        assert_shape(response.json())
        assert "secret" not in response.text


@pytest.fixture(scope="module")
def guarded(models: tuple[str, ...]) -> Iterator[TestClient]:
    """A service with two keys."""
    with start(model=models[:1], api_key=("first", "second")) as running:
        yield wait_ready(running)


class TestKeys:
    """With a key configured, every path but the probes needs it."""

    def test_each_route_but_the_probes_is_guarded(self, guarded: TestClient) -> None:
        paths = [*application(guarded).openapi()["paths"], "/docs", "/redoc", "/openapi.json", "/nowhere"]
        assert {"/rerank", "/score", "/classify", "/info", "/v1/models", "/ready"} <= set(paths)
        open_paths = {"/health", "/ready", "/metrics"}
        for path in paths:
            for method in ("GET", "POST"):
                status = guarded.request(method, path).status_code
                assert (status == 401) == (path not in open_paths), f"{method} {path} answered {status}"

    @pytest.mark.parametrize(
        "header", ["", "first", "Bearer no", "Bearer ", "Bearer firs", "Basic first", "Bearer fïrst"]
    )
    def test_a_wrong_key_is_refused(self, guarded: TestClient, header: str) -> None:
        response = guarded.post("/rerank", json=GOOD, headers={"authorization": header.encode("latin-1")})
        assert response.status_code == 401
        assert_shape(response.json())
        assert response.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("key", ["first", "second"])
    def test_each_configured_key_opens(self, guarded: TestClient, key: str) -> None:
        assert guarded.post("/rerank", json=GOOD, headers={"authorization": f"Bearer {key}"}).status_code == 200

    def test_the_scheme_is_read_in_any_case(self, guarded: TestClient) -> None:
        assert guarded.post("/rerank", json=GOOD, headers={"authorization": "bearer first"}).status_code == 200

    def test_a_forged_host_does_not_help(self, guarded: TestClient) -> None:
        assert guarded.post("/rerank", json=GOOD, headers={"host": "x/health?"}).status_code == 401
