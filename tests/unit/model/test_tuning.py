"""The first start measures, later ones remember: on the tiny model with every runtime that is installed."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from app.errors import ArtifactError, BackendOutOfMemory, ConfigError
from app.model.artifact import Artifact
from app.model.backends import BACKENDS, BackendOptions
from app.model.batch_budget import BUDGETS, measure_budget
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions
from app.model.manifest import Manifest, write_manifest
from app.model.parity import ParityPolicy
from app.model.tuning import COMPILING, STARTS, Tuned, Tuner
from app.model.tuning_cache import TuningCache
from app.model.types import Batch, FloatArray

ROOT = Path(__file__).parents[3]
PAIRS = [("what is the capital of france", "paris is the capital"), ("cat", "a lazy dog over the river " * 9)]


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all that is measured, also on a machine that has much else to do; the tests of shortage set their own."""
    monkeypatch.setattr("app.model.tuning.CONTEST_S", 60.0)
    monkeypatch.setattr("app.model.batch_budget.BUDGET_S", 60.0)


@pytest.fixture
def cache(tmp_path: Path) -> TuningCache:
    return TuningCache(tmp_path / "cache")


def load(
    model: Path,
    cache: TuningCache,
    backend: str = "auto",
    parity: ParityPolicy | None = None,
    max_rows: int = 256,
    **options: Any,
) -> Tuned:
    options = {"device": "cpu", "threads": 1, **options}
    tuner = Tuner(BackendOptions(**options), parity or ParityPolicy(), cache, max_rows)
    return tuner.load(str(model), backend, HubOptions())


def kept(cache: TuningCache) -> dict[str, Any]:
    """The single file of the cache."""
    (path,) = (cache.directory / "tuning").iterdir()
    return dict(json.loads(path.read_text())["result"])


def rewrite(cache: TuningCache, **changes: Any) -> None:
    (path,) = (cache.directory / "tuning").iterdir()
    content = json.loads(path.read_text())
    content["result"] |= changes
    path.write_text(json.dumps(content))


def test_the_first_start_measures_and_says_what(
    reranker_dir: Path, cache: TuningCache, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        tuned = load(reranker_dir, cache)
    (record,) = [record for record in caplog.records if record.message == "measured"]
    assert set(record.tokens_per_s) == {"onnx onnx/model.onnx fp32", "openvino onnx/model.onnx fp32"}  # type: ignore[attr-defined]
    assert kept(cache)["choice"] == [tuned.model.backend.name, "onnx/model.onnx", "fp32"]
    assert kept(cache)["unfinished_starts"] == 0
    assert tuned.max_batch_tokens in BUDGETS
    assert set(kept(cache)["budget_tokens_per_s"]) == {str(size) for size in BUDGETS}


@pytest.mark.parametrize("choice", ["onnx", "openvino"])
def test_a_later_start_does_as_remembered(
    reranker_dir: Path, cache: TuningCache, choice: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Scores are those of the model whoever computes them."""
    load(reranker_dir, cache)
    rewrite(cache, choice=[choice, "onnx/model.onnx", "fp32"], max_batch_tokens=77)
    with caplog.at_level(logging.INFO):
        tuned = load(reranker_dir, cache)
    assert [record.message for record in caplog.records] == ["measured earlier"]
    assert (tuned.model.backend.name, tuned.max_batch_tokens) == (choice, 77)
    np.testing.assert_allclose(tuned.model.predict(PAIRS), CrossEncoder.load(reranker_dir).predict(PAIRS), atol=1e-5)


def test_a_later_start_does_not_import_what_lost(reranker_dir: Path, cache: TuningCache) -> None:
    """OpenVINO takes half a second and 40 MB."""
    load(reranker_dir, cache)
    rewrite(cache, choice=["onnx", "onnx/model.onnx", "fp32"])
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.unit.model.test_tuning import TuningCache, load\n"
        f"assert load(Path({str(reranker_dir)!r}), TuningCache(Path({str(cache.directory)!r}))).max_batch_tokens\n"
        "print('openvino' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("choice", [["torch", "onnx/model.onnx", "fp32"], ["onnx", "/etc/passwd", "fp32"], 7, None])
def test_only_a_candidate_can_be_remembered(reranker_dir: Path, cache: TuningCache, choice: object) -> None:
    """Whatever someone wrote into the file."""
    load(reranker_dir, cache)
    rewrite(cache, choice=choice)
    assert load(reranker_dir, cache).model.backend.name in ("onnx", "openvino")
    assert kept(cache)["choice"][0] in ("onnx", "openvino")


@pytest.mark.parametrize("changes", [{"max_batch_tokens": "many"}, {"max_batch_tokens": -1}, {"unfinished_starts": []}])
def test_numbers_that_cannot_be_used_are_measured_again(
    reranker_dir: Path, cache: TuningCache, changes: dict[str, Any]
) -> None:
    load(reranker_dir, cache)
    rewrite(cache, **changes)
    assert load(reranker_dir, cache).max_batch_tokens in BUDGETS
    assert kept(cache)["max_batch_tokens"] in BUDGETS
    assert kept(cache)["unfinished_starts"] in range(STARTS)


def test_what_does_not_load_any_more_is_measured_again(
    reranker_dir: Path, cache: TuningCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load(reranker_dir, cache)
    rewrite(cache, choice=["openvino", "onnx/model.onnx", "fp32"])
    monkeypatch.setitem(BACKENDS, "openvino", "tests.unit.model.no_such_module:Backend")
    assert load(reranker_dir, cache).model.backend.name == "onnx"
    assert "does not load any more" in caplog.text
    assert kept(cache)["choice"][0] == "onnx"


def test_a_measurement_without_enough_time_is_repeated_at_the_next_starts(
    reranker_dir: Path, cache: TuningCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine may have been busy. After three starts it counts as slow."""
    monkeypatch.setattr("app.model.batch_budget.BUDGET_S", 0.0)
    for start in range(1, STARTS + 1):
        load(reranker_dir, cache)
        assert kept(cache)["unfinished_starts"] == start
    load(reranker_dir, cache)
    assert kept(cache)["unfinished_starts"] == STARTS
    rewrite(cache, unfinished_starts=1)
    monkeypatch.setattr("app.model.batch_budget.BUDGET_S", 5.0)
    load(reranker_dir, cache)
    assert kept(cache)["unfinished_starts"] == 0


def test_another_model_thread_count_or_option_is_measured_on_its_own(
    reranker_dir: Path, classifier_dir: Path, cache: TuningCache, tmp_path: Path
) -> None:
    load(reranker_dir, cache)
    load(reranker_dir, cache, threads=2)
    load(classifier_dir, cache)
    load(reranker_dir, cache, max_rows=4)
    changed = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    load(changed, cache)
    assert len(list((cache.directory / "tuning").iterdir())) == 4, "the same model in another place is the same"
    (changed / "onnx/model.onnx").touch()
    load(changed, cache)
    assert len(list((cache.directory / "tuning").iterdir())) == 5


def test_a_named_backend_is_not_doubted_but_its_budget_is_measured(reranker_dir: Path, cache: TuningCache) -> None:
    for backend in ("onnx", "openvino", "torch"):
        tuned = load(reranker_dir, cache, backend)
        assert tuned.model.backend.name == backend
        assert tuned.max_batch_tokens in BUDGETS


def test_a_budget_that_is_given_is_not_measured(reranker_dir: Path, cache: TuningCache) -> None:
    assert load(reranker_dir, cache, "onnx", max_rows=0).max_batch_tokens is None
    assert not cache.directory.exists()


def test_a_model_without_a_graph_runs_on_pytorch(reranker_dir: Path, cache: TuningCache, tmp_path: Path) -> None:
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    shutil.rmtree(model / "onnx")
    assert load(model, cache).model.backend.name == "torch"
    (model / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load(model, cache)


def test_a_graph_that_openvino_cannot_run_is_onnx_runtime_s(
    reranker_dir: Path, cache: TuningCache, tmp_path: Path
) -> None:
    """It is left out with its reason, and the start goes on."""
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    graph = onnx.load(model / "onnx/model.onnx")
    graph.graph.node[-1].output[0] = "before"
    graph.graph.node.append(helper.make_node("CDist", ["before", "before"], ["far"], domain="com.microsoft"))
    graph.graph.node.append(helper.make_node("Identity", ["before"], ["logits"]))
    graph.graph.output.append(helper.make_tensor_value_info("far", onnx.TensorProto.FLOAT, None))
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(graph, model / "onnx/model.onnx")
    assert load(model, cache).model.backend.name == "onnx"
    assert "OpenVINO cannot load it" in kept(cache)["dropped"]["openvino onnx/model.onnx fp32"]


def test_an_unfaithful_model_is_refused_where_the_policy_says_so(
    reranker_dir: Path, cache: TuningCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    write_manifest(model, Manifest(graphs={"onnx/model.onnx": {"within_thresholds": False}}), ["onnx/model.onnx"])
    for backend in ("auto", "onnx"):
        with pytest.raises(ArtifactError, match="missed the parity thresholds"):
            load(model, cache, backend, ParityPolicy("refuse"))
        caplog.clear()
        load(model, cache, backend, ParityPolicy("warn"))
        assert "missed the parity thresholds" in caplog.text


def test_limits_of_the_user_reach_the_model(reranker_dir: Path, cache: TuningCache) -> None:
    wrap = partial(CrossEncoder.of, max_length=99, truncation="only_second")
    tuned = Tuner(BackendOptions(), ParityPolicy(), cache).load(str(reranker_dir), "auto", HubOptions(), wrap)
    assert (tuned.model.max_length, tuned.model.options.truncation) == (99, "only_second")


def test_an_unwritable_cache_changes_nothing_else(reranker_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert load(reranker_dir, TuningCache(tmp_path / "file")).max_batch_tokens in BUDGETS


def test_int8_arithmetic_is_no_setting_of_pytorch(reranker_dir: Path, cache: TuningCache) -> None:
    with pytest.raises(ConfigError, match="torch backend computes in fp32, fp16, bf16, not in int8"):
        load(reranker_dir, cache, "torch", precision="int8")


class CompilingBackend:
    """OpenVINO, if its first use on a machine compiled for long."""

    compiled, asked = False, list[str]()

    def __new__(cls, artifact: Artifact, options: BackendOptions) -> Any:
        from app.model.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(artifact, options)

    @classmethod
    def is_compiled(cls, artifact: Artifact, graph: str) -> bool:
        return cls.compiled

    @classmethod
    def compile_aside(cls, artifact: Artifact, graphs: Sequence[str]) -> None:
        cls.asked += graphs


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> type[CompilingBackend]:
    monkeypatch.setitem(BACKENDS, "openvino", f"{__name__}:CompilingBackend")
    monkeypatch.setattr(CompilingBackend, "compiled", False)
    monkeypatch.setattr(CompilingBackend, "asked", [])
    return CompilingBackend


def test_what_compiles_for_long_does_so_beside_a_start_and_competes_at_the_next(
    reranker_dir: Path, cache: TuningCache, compiling: type[CompilingBackend]
) -> None:
    """However many starts there are before it has done."""
    for _ in range(STARTS + 2):
        assert load(reranker_dir, cache).model.backend.name == "onnx"
    assert compiling.asked == ["onnx/model.onnx"] * (STARTS + 2)
    assert kept(cache)["dropped"] == {"openvino onnx/model.onnx fp32": COMPILING}
    assert kept(cache)["unfinished_starts"] == 1
    compiling.compiled = True
    load(reranker_dir, cache)
    assert set(kept(cache)["tokens_per_s"]) == {"onnx onnx/model.onnx fp32", "openvino onnx/model.onnx fp32"}
    assert kept(cache)["unfinished_starts"] == 0


def test_a_winner_whose_machine_code_is_gone_waits_for_it(
    reranker_dir: Path, cache: TuningCache, compiling: type[CompilingBackend]
) -> None:
    compiling.compiled = True
    load(reranker_dir, cache)
    rewrite(cache, choice=["openvino", "onnx/model.onnx", "fp32"])
    assert load(reranker_dir, cache).model.backend.name == "openvino"
    compiling.compiled = False
    assert load(reranker_dir, cache).model.backend.name == "onnx"
    assert compiling.asked == ["onnx/model.onnx"]


def test_what_compiles_for_long_is_waited_for_where_nothing_else_loads(
    reranker_dir: Path, cache: TuningCache, compiling: type[CompilingBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "onnx", "tests.unit.model.no_such_module:Backend")
    assert load(reranker_dir, cache).model.backend.name == "openvino"
    assert kept(cache)["choice"][0] == "openvino"


class GpuBackend:
    """A GPU whose batches all take equally long, so that the largest budget that fits wins."""

    name, device, source = "torch", "cuda", "model.safetensors"

    def __init__(self, artifact: Artifact, options: BackendOptions) -> None:
        self.batches = 0

    @classmethod
    def select_weights(cls, names: list[str], options: BackendOptions) -> list[str]:
        return ["model.safetensors"]

    def forward(self, batch: Batch) -> FloatArray:
        if batch["input_ids"].size > 9000:
            raise BackendOutOfMemory("no room")
        self.batches += 1
        time.sleep(0.005)
        return np.zeros((len(batch["input_ids"]), 1), dtype=np.float32)


def test_the_budget_of_a_gpu_is_measured_per_gpu(
    reranker_dir: Path, cache: TuningCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remembered for GPUs of that name; a budget that is given is not measured."""
    monkeypatch.setitem(BACKENDS, "torch", f"{__name__}:GpuBackend")
    for gpus, batches in ((["NVIDIA L4"], True), (["NVIDIA L4"], False), (["NVIDIA H200"], True)):
        monkeypatch.setattr("app.model.tuning.gpu_models", lambda gpus=gpus: gpus)
        tuned = load(reranker_dir, cache, "torch", device="cuda")
        assert tuned.max_batch_tokens == 8192
        assert isinstance(tuned.model.backend, GpuBackend)
        assert (tuned.model.backend.batches > 1) == batches
    assert load(reranker_dir, cache, "torch", max_rows=0, device="cuda").max_batch_tokens is None


class Cached:
    """A backend that is fastest in batches of 1024 tokens, by a clock that forwards turn."""

    name, device, source = "cached", "cpu", "a.onnx"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("app.model.measuring.compare.__defaults__", (lambda: self.now,))

    def forward(self, batch: Batch) -> FloatArray:
        tokens = batch["input_ids"].size
        self.now += 1e-4 + tokens * (1e-6 if tokens <= 1024 else 2e-6)
        return np.zeros((len(batch["input_ids"]), 1), dtype=np.float32)


@pytest.mark.parametrize(("max_rows", "expected"), [(256, 1024), (8, 512), (1, 256)])
def test_the_budget_follows_the_machine(
    reranker_dir: Path, monkeypatch: pytest.MonkeyPatch, max_rows: int, expected: int
) -> None:
    """Rows of 64 tokens: with 8 rows at most, more than 512 tokens bring nothing."""
    model = CrossEncoder.load(reranker_dir)
    model = CrossEncoder(model.artifact, model.tokenizer, Cached(monkeypatch), model.options)
    figures = measure_budget(model, max_rows)
    assert figures["max_batch_tokens"] == expected
    assert figures["complete"]
