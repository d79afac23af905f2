"""The real process: signals, disconnects, killed clients, dead workers, refused starts."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import pytest

from app.model.cross_encoder import CrossEncoder
from app.model.manifest import Manifest, write_manifest
from app.model.tuning import STARTS
from tests.e2e.server import ROOT, Server, command, serving

FAULTY = [sys.executable, "-m", "tests.e2e.faulty", "--port", "0"]


@pytest.fixture
def slow_server(reranker_dir: Path) -> Iterator[Server]:
    """Documents that contain "quick" take 50 ms each; batches of one row."""
    with serving("--model", f"rr={reranker_dir}", "--max-batch-rows", "1", program=FAULTY) as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(reranker_dir: Path) -> Iterator[Server]:
    """The same, for tests that leave it running."""
    with serving("--model", f"rr={reranker_dir}", "--max-batch-rows", "1", program=FAULTY) as server:
        yield server


def test_sigterm_under_load_loses_no_admitted_request(slow_server: Server) -> None:
    """20 requests, about 8 s of work, are in flight at SIGTERM: every one is answered."""
    with ThreadPoolExecutor(20) as clients:
        answers = [clients.submit(slow_server.rerank, ["quick"] * 8) for _ in range(20)]
        wait_until(lambda: slow_server.metric("reranker_queue_requests") + slow_server.logged(200) >= 20)
        assert slow_server.metric("reranker_queue_requests") >= 5, "too few were still in flight to prove anything"
        slow_server.terminate()
        statuses = [answer.result().status_code for answer in answers]
    assert statuses == [200] * 20
    assert slow_server.wait() == 0


def test_while_draining_the_probe_says_so_and_new_work_is_refused(slow_server: Server) -> None:
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(slow_server.rerank, ["quick"] * 20)
        wait_until(lambda: slow_server.metric("reranker_queue_requests") == 1)
        slow_server.terminate()
        wait_until(lambda: slow_server.get("/ready").status_code == 503)
        refused = slow_server.rerank(["a"])
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert slow_server.get("/health").status_code == 200
        assert answer.result().status_code == 200
    assert slow_server.wait() == 0


def test_during_the_drain_delay_traffic_is_still_taken(reranker_dir: Path) -> None:
    with serving("--model", str(reranker_dir), "--drain-delay-s", "1.5") as server:
        server.terminate()
        wait_until(lambda: server.get("/ready").status_code == 503)
        assert server.rerank(["a"]).status_code == 200
        assert server.wait() == 0


def test_the_grace_bounds_the_drain(reranker_dir: Path) -> None:
    """A request of 100 x 50 ms does not hold up a shutdown with 1 s of grace."""
    arguments = ["--model", str(reranker_dir), "--max-batch-rows", "1", "--shutdown-grace-s", "1"]
    with serving(*arguments, program=FAULTY) as server, ThreadPoolExecutor(1) as client:
        client.submit(server.rerank, ["quick"] * 100)
        wait_until(lambda: server.metric("reranker_queue_requests") == 1)
        started = time.monotonic()
        server.terminate()
        server.wait(15)
        assert time.monotonic() - started < 4.5, "5 s of work were not cut short"


def test_what_the_grace_cuts_off_is_told_so_and_logged_as_a_failure(reranker_dir: Path) -> None:
    arguments = ["--model", str(reranker_dir), "--max-batch-rows", "1", "--shutdown-grace-s", "0.5"]
    with serving(*arguments, program=FAULTY) as server, ThreadPoolExecutor(1) as client:
        answer = client.submit(server.rerank, ["quick"] * 200)
        wait_until(lambda: server.metric("reranker_queue_requests") == 1)
        server.terminate()
        assert answer.result().status_code == 503
        assert "going down" in answer.result().json()["message"]
        assert server.wait() == 0
        wait_until(lambda: server.logged(503) == 1)


def test_a_port_in_use_is_one_clear_line(shared_server: Server, reranker_dir: Path) -> None:
    port = shared_server.url.rpartition(":")[2]
    result = subprocess.run(
        [*command("--model", str(reranker_dir)), "--port", port], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"rerank-server: error: cannot listen on 127.0.0.1:{port}")


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_sigterm_while_a_model_loads_ends_the_process_in_order(seconds: float, tmp_path: Path) -> None:
    """Wherever loading is: Python's own exit ended in an abort when a runtime's code came back."""
    process = subprocess.Popen(command("--cache-dir", str(tmp_path)), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline()
    time.sleep(seconds)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_an_idle_connection_outlives_that_of_a_client(shared_server: Server) -> None:
    """Clients drop theirs after 5 s; the server did so, too, and requests met a connection that was being closed."""
    address = httpx.URL(shared_server.url)
    connection = HTTPConnection(address.host, address.port, timeout=30)
    for pause in (6.0, 0.0):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        assert (answer.status, answer.read() != b"", answer.will_close) == (200, True, False)
        kept = connection.sock
        time.sleep(pause)
    assert connection.sock is kept is not None
    connection.close()


def test_two_hundred_random_disconnects_leave_no_work_behind(shared_server: Server) -> None:
    rng = random.Random(0)
    before = shared_server.metric("reranker_batch_rows_sum")

    def leave(seconds: float) -> None:
        body = b'{"query": "paris", "documents": [' + b", ".join([b'"quick brown"'] * 50) + b"]}"
        head = f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(shared_server.url.removeprefix("http://").split(":")) as connection:
            connection.sendall(head + body[: rng.choice([len(body), len(body), len(body) // 2])])
            time.sleep(seconds)

    with ThreadPoolExecutor(20) as clients:
        list(clients.map(leave, [rng.uniform(0, 0.2) for _ in range(200)]))
    wait_until(lambda: shared_server.logged(499) == 200)
    assert shared_server.metric("reranker_queue_requests") == 0
    computed = shared_server.metric("reranker_batch_rows_sum") - before
    assert computed < 200, f"{computed} of up to 10000 rows were computed for nobody"
    assert shared_server.metric("reranker_queue_tokens") == 0
    assert shared_server.rerank(["a", "b"]).status_code == 200


def test_killing_a_client_changes_nothing_for_others(shared_server: Server, reranker_dir: Path) -> None:
    """One process asks for 200 slow rows and is killed; another's answers stay right and soon come."""
    code = (
        "import httpx, sys; print('go', flush=True); "
        f"httpx.post('{shared_server.url}/rerank', json={{'query': 'a', 'documents': ['quick'] * 200}}, timeout=60)"
    )
    doomed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    wait_until(lambda: shared_server.metric("reranker_queue_requests") == 1)
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    assert doomed.stdout is not None
    doomed.stdout.close()
    documents = ["paris is a city", "rome", "the fox jumps"]
    answer = shared_server.rerank(documents)
    expected = CrossEncoder.load(reranker_dir).predict([("paris", document) for document in documents])
    scores = {result["index"]: result["relevance_score"] for result in answer.json()["results"]}
    assert [scores[i] for i in range(3)] == pytest.approx(expected.tolist(), abs=1e-5)
    wait_until(lambda: shared_server.metric("reranker_queue_requests") == 0)


def test_a_dead_worker_turns_readiness_off_and_ends_the_process(slow_server: Server) -> None:
    with ThreadPoolExecutor(2) as clients:
        waiting = clients.submit(slow_server.rerank, ["quick"] * 10)
        wait_until(lambda: slow_server.metric("reranker_queue_requests") == 1)
        killer = clients.submit(slow_server.rerank, ["lazy"])
        assert killer.result().status_code == 503
        assert waiting.result().status_code == 503
    assert slow_server.wait() == 3
    assert any("rerank-server: error:" in str(line["message"]) for line in slow_server.lines)


def test_answers_under_concurrent_load_are_those_of_the_model(reranker_dir: Path) -> None:
    """Eight clients, ragged requests; every score is compared with the offline one."""
    words = ["quick", "brown", "fox", "search", "engine", "ranks", "documents", "paris", "rome", "unknown", "a", "the"]
    model = CrossEncoder.load(reranker_dir)

    def client(seed: int) -> int:
        rng = random.Random(seed)
        for _ in range(6):
            documents = [" ".join(rng.choices(words, k=rng.randrange(0, 60))) for _ in range(rng.randrange(1, 60))]
            results = server.rerank(documents).json()["results"]
            scores = {result["index"]: result["relevance_score"] for result in results}
            expected = model.predict([("paris", document) for document in documents]).tolist()
            assert [scores[i] for i in range(len(documents))] == pytest.approx(expected, abs=1e-5)
        return 6

    with serving("--model", str(reranker_dir), "--max-batch-tokens", "512") as server, ThreadPoolExecutor(8) as clients:
        assert sum(clients.map(client, range(8))) == 48
        assert server.metric("reranker_queue_requests") == 0


def test_overload_is_refused_quickly_and_nothing_admitted_is_lost(reranker_dir: Path) -> None:
    """Room for two requests, twenty arrive: each gets an answer or a 429 that names a time."""
    arguments = ["--model", str(reranker_dir), "--max-batch-rows", "1", "--max-pending-requests", "2"]
    with serving(*arguments, program=FAULTY) as server, ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda _: server.rerank(["quick"] * 4), range(20)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
        assert server.metric("reranker_refusals_total") == statuses.count(429)


def test_a_deadline_stops_the_work(shared_server: Server) -> None:
    started, before = time.monotonic(), shared_server.metric("reranker_batch_rows_sum")
    body = {"query": "a", "documents": ["quick"] * 100}
    answer = shared_server.client.post(
        f"{shared_server.url}/rerank", json=body, headers={"X-Request-Timeout-Ms": "300"}
    )
    assert answer.status_code in (503, 504)
    assert time.monotonic() - started < 2.5, "100 x 50 ms of work were not cut short"
    wait_until(lambda: shared_server.metric("reranker_queue_tokens") == 0)
    assert shared_server.metric("reranker_batch_rows_sum") - before < 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "/nowhere/at/all"], "no such model directory"),
        (["--model", "a=x", "--model", "a=y"], "one distinct name"),
        (["--port", "http"], "--port (RERANKER_PORT)"),
        (["--device", "cuda"], "cuda"),
    ],
)
def test_a_start_that_cannot_work_ends_with_one_clear_line(
    reranker_dir: Path, arguments: list[str], message: str
) -> None:
    given = arguments if "--model" in arguments else ["--model", str(reranker_dir), *arguments]
    result = subprocess.run(
        command(*given), capture_output=True, text=True, cwd=ROOT, timeout=60, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.startswith("rerank-server: error:")
    assert len(result.stderr.strip().splitlines()) == 1


def wait_until(condition: Callable[[], bool], timeout: float = 15) -> None:
    """Polls until the condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def test_a_second_start_remembers_what_the_first_measured(reranker_dir: Path, tmp_path: Path) -> None:
    """Both say what they serve with; the second measures nothing, and answers the same."""
    arguments = ["--model", str(reranker_dir), "--cache-dir", str(tmp_path)]
    answers, seen = [], []
    for _ in range(2):
        with serving(*arguments) as server:
            answers.append(server.rerank(["paris is a city", "rome"]).json()["results"])
            (model,) = server.get("/info").json()["models"]
            seen.append((model["backend"], model["max_batch_tokens"]))
            messages = [line["message"] for line in server.lines]
            assert ("measured" in messages, "measured earlier" in messages) == (len(seen) == 1, len(seen) == 2)
    assert answers[0] == answers[1]
    assert seen[0] == seen[1]
    assert len(list((tmp_path / "tuning").iterdir())) == 1


def test_without_a_place_for_the_cache_the_service_starts_all_the_same(reranker_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving("--model", str(reranker_dir), "--cache-dir", str(tmp_path / "file")) as server:
        assert server.rerank(["rome"]).status_code == 200
        assert any("not writable" in str(line["message"]) for line in server.lines)


def test_a_graph_that_its_manifest_calls_unfaithful_is_refused_if_so_configured(
    reranker_dir: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    write_manifest(model, Manifest(graphs={"onnx/model.onnx": {"within_thresholds": False}}), ["onnx/model.onnx"])
    result = subprocess.run(
        command("--model", str(model), "--parity-policy", "refuse"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert result.returncode == 2
    assert "missed the parity thresholds of its export" in result.stderr


def test_the_default_model_stays_small(tmp_path: Path) -> None:
    """After requests of full batches and at a later start: under 400 MB, without the runtime that does not serve."""
    arguments = ["--cache-dir", str(tmp_path)]
    for _ in range(STARTS):  # a busy machine may have no time to measure everything at the first one
        with serving(*arguments) as server:
            assert server.rerank(["the quick brown fox " * 40] * 64).status_code == 200
    with serving(*arguments) as server:
        assert [line["message"] for line in server.lines].count("measured earlier") == 1
        assert server.rerank(["the quick brown fox " * 40] * 64).status_code == 200
        process = psutil.Process(server.process.pid)
        assert process.memory_info().rss < 400e6
        (model,) = server.get("/info").json()["models"]
        mapped = {"onnx": "onnxruntime", "openvino": "openvino"}
        libraries = [region.path for region in process.memory_maps()]
        for backend, library in mapped.items():
            assert any(library in path for path in libraries) is (backend == model["backend"])
