"""Probes, descriptions, metrics, logs and headers."""

from __future__ import annotations

import json
import logging
import re
from importlib.metadata import version
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app import logs
from app.metrics import ENDPOINTS, OUTCOMES, REFUSALS, STAGES
from tests.unit.api.conftest import application, start, wait_ready

GOOD = {"query": "capital of france", "documents": ["paris", "rome"]}


def series(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_before_the_models_are_loaded_only_health_is_fine(models: tuple[str, ...]) -> None:
    """Without entering the client the application has not started to load."""
    client = start(model=models)
    assert client.get("/health").status_code == 200
    assert (client.get("/ready").status_code, client.get("/ready").json()) == (503, {"status": "starting"})
    for method, path in (("POST", "/rerank"), ("GET", "/info"), ("GET", "/v1/models")):
        response = client.request(method, path, json=GOOD)
        assert response.status_code == 503
        assert "loading" in response.json()["message"]
        assert response.headers["retry-after"] == "1"


def test_probes_may_ask_for_the_head_alone(client: TestClient) -> None:
    assert client.head("/health").status_code == client.head("/ready").status_code == 200


def test_info_tells_what_is_served(client: TestClient) -> None:
    info = client.get("/info").json()
    assert info["version"] == version("crossrank")
    assert [model["id"] for model in info["models"]] == ["rr", "nli", "tags"]
    nli = info["models"][1]
    assert nli["labels"] == ["contradiction", "entailment", "neutral"]
    chosen = application(client).state.registry.find("nli").model.backend.name
    assert (nli["max_length"], nli["backend"], nli["device"]) == (512, chosen, "cpu")
    assert nli["weights"] == "onnx/model.onnx"
    assert info["limits"]["max_documents"] == 200


def test_models_are_listed_as_clients_probe_for_them(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["rr", "nli", "tags"]


def test_the_documentation_page_needs_no_other_host(client: TestClient) -> None:
    for page in ("/docs", "/redoc"):
        html = client.get(page).text
        assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", html)
        for asset in re.findall(r"""(?:src|href)=["'](/[^"']+\.(?:js|css))""", html):
            assert client.get(asset).status_code == 200


def test_the_schema_describes_what_is_accepted_and_answered(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    for path, required in (("/rerank", {"query", "documents"}), ("/score", set()), ("/classify", {"input"})):
        operation = schema["paths"][path]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert set(body.get("required", [])) == required
        assert all(entry.get("description") for entry in body["properties"].values())
        assert client.post(path, json=body["examples"][0]).status_code == 200, "the example must work as it is"
        assert {"200", "400", "401", "404", "413", "422", "429", "500", "503", "504"} <= set(operation["responses"])


class TestMetrics:
    """What a scrape shows."""

    def test_every_series_is_there_before_the_first_request(self, models: tuple[str, ...]) -> None:
        with start(model=models) as running:
            wait_ready(running)
            before = set(series(running))
            running.post("/rerank", json=GOOD)
            running.post("/score", json={})
            running.post("/classify", json={"input": "a", "model": "nli"})
            assert set(series(running)) == before, "labels appeared after start"

    def test_labels_come_from_fixed_sets(self, client: TestClient) -> None:
        names = {("endpoint", name) for name in ENDPOINTS} | {("outcome", name) for name in OUTCOMES}
        names |= {("stage", name) for name in STAGES} | {("reason", name) for name in REFUSALS}
        for path in ("/x1", "/x2", "/rerank/../../etc"):
            client.get(path)
        seen = {pair for _, labels in series(client) for pair in labels if pair[0] in {"endpoint", "outcome", "stage"}}
        assert seen <= names

    def test_requests_batches_and_latencies_are_counted(self, client: TestClient) -> None:
        before = series(client)
        client.post("/rerank", json={"query": "capital of france", "documents": ["paris", "rome is a city in italy"]})
        after = series(client)

        def grew(name: str, **labels: str) -> float:
            key = (name, tuple(sorted(labels.items())))
            return after[key] - before[key]

        assert grew("reranker_requests_total", endpoint="rerank", outcome="ok") == 1
        for stage in STAGES:
            assert grew("reranker_latency_seconds_count", stage=stage) == 1
        assert grew("reranker_batch_rows_sum", model="rr") == 2
        tokens, padding = grew("reranker_tokens_total", model="rr"), grew("reranker_padding_tokens_total", model="rr")
        assert padding > 0
        assert grew("reranker_batch_tokens_sum", model="rr") == tokens + padding
        assert grew("reranker_tokens_total", model="nli") == 0
        assert after[("reranker_queue_requests", (("model", "rr"),))] == 0
        assert after[("reranker_ready", ())] == 1

    def test_a_failure_is_counted_by_outcome(self, client: TestClient) -> None:
        key = ("reranker_requests_total", (("endpoint", "score"), ("outcome", "client_error")))
        before = series(client)[key]
        client.post("/score", json={})
        assert series(client)[key] == before + 1

    def test_the_models_are_described(self, client: TestClient) -> None:
        chosen = application(client).state.registry.find("rr").model.backend.name
        labels = (("backend", chosen), ("device", "cpu"), ("model", "rr"), ("source", "onnx/model.onnx"))
        assert series(client)[("reranker_model_info", labels)] == 1


class TestHeaders:
    """Request id and timings."""

    def test_a_clients_request_id_is_kept(self, client: TestClient) -> None:
        response = client.post("/rerank", json=GOOD, headers={"x-request-id": "trace-1:2/3"})
        assert response.headers["x-request-id"] == response.json()["id"] == "trace-1:2/3"

    @pytest.mark.parametrize("given", ["", "a" * 129, "two words", "semi;colon", "é"])
    def test_an_odd_request_id_is_replaced(self, client: TestClient, given: str) -> None:
        response = client.post("/rerank", json=GOOD, headers={"x-request-id": given.encode("latin-1")})
        assert response.headers["x-request-id"] == response.json()["id"] != given
        assert len(response.json()["id"]) == 32

    def test_timings_are_milliseconds_and_add_up(self, client: TestClient) -> None:
        headers = client.post("/rerank", json=GOOD).headers
        names = ("x-tokenization-time", "x-queue-time", "x-inference-time")
        parts = [float(headers[name]) for name in names]
        assert all(part > 0 for part in parts)
        assert sum(parts) <= float(headers["x-total-time"])


class TestLogs:
    """One canonical line per request, as JSON."""

    def test_a_request_leaves_one_line_with_everything_known(
        self, client: TestClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "app.requests"):
            client.post("/rerank", json=GOOD, headers={"x-request-id": "abc"})
            client.post("/rerank", json={"query": 1})
        ok, failed = (vars(record) for record in caplog.records if record.name == "app.requests")
        assert (ok["request_id"], ok["path"], ok["status"], ok["outcome"]) == ("abc", "/rerank", 200, "ok")
        assert (ok["model"], ok["items"]) == ("rr", 2)
        assert {"tokens", "total_ms", "tokenize_ms", "queue_ms", "inference_ms"} <= set(ok)
        assert (failed["status"], failed["error_type"]) == (422, "validation")
        assert "query" in failed["error"]

    def test_texts_and_keys_are_not_logged(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, "app"):
            client.post(
                "/rerank",
                json={"query": "private words", "documents": ["secret"]},
                headers={"authorization": "Bearer hush"},
            )
        everything = " ".join(str(vars(record)) for record in caplog.records)
        assert not any(word in everything for word in ("private", "secret", "hush"))

    def test_probes_do_not_drown_the_log(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "app.requests"):
            client.get("/ready")
        assert not caplog.records

    def test_lines_are_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        try:
            logs.configure("info", log_requests=True)
            logging.getLogger("x").info("hello é", extra={"model": "rr", "color_message": "again"})
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        line: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert {"level": "INFO", "logger": "x", "message": "hello é", "model": "rr"}.items() <= line.items()
        assert "color_message" not in line

    def test_the_request_line_can_be_turned_off(self) -> None:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        try:
            logs.configure("info", log_requests=False)
            assert logs.requests.disabled
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            logs.requests.disabled = False
