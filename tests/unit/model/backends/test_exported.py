"""ONNX Runtime and OpenVINO: variants of graphs, and every refusal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load_file

from app.errors import ArtifactError, BackendOutOfMemory, ConfigError
from app.model.artifact import DEFAULT_DIRECTORY, read_artifact
from app.model.backends import Backend, BackendOptions, backend_class
from app.model.backends.openvino import PRIMITIVES, cpu_capabilities
from app.model.cross_encoder import CrossEncoder
from app.model.types import FloatArray
from tests.models import write_model
from tests.onnx_bert import bert_graph, with_appetite

PAIRS = [("what is the capital of france", "paris is the capital"), ("cat", "a lazy dog over the river " * 9), ("", "")]
EXPORTED = ["onnx", "openvino"]


@pytest.fixture
def model(reranker_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny reranker whose graph a test may replace."""
    return Path(shutil.copytree(reranker_dir, tmp_path / "model"))


def load(model: Path, backend: str, **options: Any) -> Backend:
    return backend_class(backend)(read_artifact(model), BackendOptions(**options))


def logits(model: Path, backend: str, **options: Any) -> FloatArray:
    loaded = CrossEncoder.load(model, backend, BackendOptions(**options))
    return loaded.logits(loaded.tokenizer.encode_pairs(PAIRS, loaded.options))


def rewrite(model: Path, **variant: Any) -> None:
    """Replaces the graph by a variant of itself."""
    weights = load_file(model / "model.safetensors")
    config = json.loads((model / "config.json").read_text())
    onnx.save(bert_graph(weights, config, **variant), model / "onnx/model.onnx")


@pytest.mark.parametrize("backend", EXPORTED)
def test_int32_inputs_are_fed_as_int32(model: Path, backend: str) -> None:
    """Some exporters save memory there."""
    expected = logits(model, backend)
    rewrite(model, input_type=TensorProto.INT32)
    np.testing.assert_allclose(logits(model, backend), expected, atol=1e-6)


@pytest.mark.parametrize("backend", EXPORTED)
def test_a_graph_without_token_type_ids_is_not_fed_any(model: Path, backend: str) -> None:
    """It gives what the full graph gives where all segments are the first."""
    full = load(model, backend)
    batch = {name: np.array([[2, 50, 3, 60, 3]]) for name in ("input_ids", "token_type_ids")}
    batch |= {"attention_mask": np.ones((1, 5), dtype=np.int64), "token_type_ids": np.zeros((1, 5), dtype=np.int64)}
    expected = full.forward(batch)
    segmented = full.forward({**batch, "token_type_ids": np.array([[0, 0, 0, 1, 1]])})
    rewrite(model, inputs=("input_ids", "attention_mask"))
    np.testing.assert_allclose(load(model, backend).forward(batch), expected, atol=1e-6)
    assert np.abs(segmented - expected).max() > 1e-3


@pytest.mark.parametrize("backend", EXPORTED)
def test_the_output_named_logits_is_taken_wherever_it_stands(model: Path, backend: str) -> None:
    """Optimum may export hidden states before it."""
    expected = logits(model, backend)
    graph = onnx.load(model / "onnx/model.onnx")
    graph.graph.node.append(helper.make_node("Cast", ["input_ids"], ["first"], to=TensorProto.FLOAT))
    graph.graph.output.insert(0, helper.make_tensor_value_info("first", TensorProto.FLOAT, ["rows", "width"]))
    onnx.save(graph, model / "onnx/model.onnx")
    np.testing.assert_allclose(logits(model, backend), expected, atol=1e-6)


@pytest.mark.parametrize("backend", EXPORTED)
def test_weights_in_a_file_of_their_own_are_loaded(model: Path, backend: str) -> None:
    """Graphs over two gigabytes keep them outside."""
    expected = logits(model, backend)
    graph = onnx.load(model / "onnx/model.onnx")
    onnx.save(
        graph, model / "onnx/model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=512
    )
    assert (model / "onnx/model.onnx_data").stat().st_size > (model / "onnx/model.onnx").stat().st_size
    np.testing.assert_allclose(logits(model, backend), expected, atol=1e-6)


def test_openvino_reads_its_own_format(model: Path) -> None:
    """Before an ONNX graph beside it."""
    expected = logits(model, "onnx")
    (model / "openvino").mkdir()
    ov.save_model(
        ov.Core().read_model(model / "onnx/model.onnx"),
        model / "openvino/openvino_model.xml",
        compress_to_fp16=False,
    )
    (model / "onnx/model.onnx").unlink()
    assert load(model, "openvino").source == "openvino/openvino_model.xml"
    np.testing.assert_allclose(logits(model, "openvino"), expected, atol=1e-5)


def test_openvino_does_not_keep_every_shape_that_it_has_seen() -> None:
    """A service on the embedded model grows by much less than with the libraries' own limits."""

    def growth_mb(environment: dict[str, str]) -> float:
        command = [sys.executable, "-m", "tests.unit.model.backends.openvino_shapes", str(DEFAULT_DIRECTORY)]
        return float(subprocess.check_output(command, env={**os.environ, **environment}))

    assert growth_mb({}) < 0.7 * growth_mb({PRIMITIVES: "1024"})


def cut_off(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def add_input(graph: Path) -> None:
    changed = onnx.load(graph)
    changed.graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["rows", 3]))
    changed.graph.node.append(helper.make_node("Identity", ["pixel_values"], ["seen"]))
    changed.graph.output.append(helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["rows", 3]))
    onnx.save(changed, graph)


def freeze_shape(graph: Path) -> None:
    """As an export without dynamic axes does."""
    changed = onnx.load(graph)
    for value in changed.graph.input:
        for dimension, size in zip(value.type.tensor_type.shape.dim, (1, 8), strict=True):
            dimension.Clear()
            dimension.dim_value = size
    onnx.save(changed, graph)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (cut_off, r"onnx/model\.onnx: .* cannot load it \(.*\); export the model again"),
    "empty": (
        lambda graph: graph.write_bytes(b""),
        r"onnx/model\.onnx: .* cannot load it \(.*\); export the model again",
    ),
    "text": (
        lambda graph: graph.write_text("version https://git-lfs\n"),
        r"onnx/model\.onnx: .* cannot load it \(.*\); export the model again",
    ),
    "unknown input": (add_input, r"onnx/model\.onnx: takes unknown inputs \['pixel_values'\]; export a sequence"),
    "fixed shape": (freeze_shape, r"onnx/model\.onnx: fails on its first batch \(.*\); export the model again"),
}


@pytest.mark.parametrize("backend", EXPORTED)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_graph_that_cannot_serve_is_refused_at_start(model: Path, backend: str, damage: str) -> None:
    """In one line with the file and the remedy."""
    change, message = DAMAGES[damage]
    change(model / "onnx/model.onnx")
    with pytest.raises(ArtifactError, match=message) as refusal:
        CrossEncoder.load(model, backend)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("backend", EXPORTED)
def test_a_graph_with_another_number_of_labels_is_refused_at_start(
    model: Path, classifier_dir: Path, backend: str
) -> None:
    """The graph of a classifier under the config of a reranker."""
    shutil.copy(classifier_dir / "onnx/model.onnx", model / "onnx/model.onnx")
    with pytest.raises(ArtifactError, match=r"onnx/model\.onnx: gives logits of shape \(2, 3\) .* names 1 label"):
        CrossEncoder.load(model, backend)


@pytest.mark.parametrize("backend", EXPORTED)
def test_weights_that_give_no_numbers_are_refused_at_start(tmp_path: Path, backend: str) -> None:
    """NaN in, NaN out, for every user."""
    model = write_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"] = np.full((1,), np.nan, dtype=np.float32)
    onnx.save(bert_graph(weights, json.loads((model / "config.json").read_text())), model / "onnx/model.onnx")
    with pytest.raises(ArtifactError, match=r"onnx/model\.onnx: gives logits that are not finite"):
        CrossEncoder.load(model, backend)


def batch_of(width: int) -> dict[str, np.ndarray]:
    return {name: np.ones((1, width), dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}


def test_onnx_runtime_out_of_memory_is_reported_as_such(model: Path) -> None:
    """More than the address space holds; the backend answers the next batch as before."""
    graph = onnx.load(model / "onnx/model.onnx")
    onnx.save(with_appetite(graph), model / "onnx/model.onnx")
    loaded = load(model, "onnx")
    before = loaded.forward(batch_of(5))
    with pytest.raises(BackendOutOfMemory, match=r"ran out of memory: ."):
        loaded.forward(batch_of(512))
    assert np.array_equal(loaded.forward(batch_of(5)), before)


def test_openvino_out_of_memory_is_reported_as_such(model: Path) -> None:
    """A request that failed to allocate crashes the process when it is used again, so it must not be."""
    loaded = load(model, "openvino")
    before = loaded.forward(batch_of(5))
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, dtype=np.int64), (2**33, 512), (0, 0))
    with pytest.raises(BackendOutOfMemory, match=r"ran out of memory: ."):
        loaded.forward(dict.fromkeys(batch_of(5), huge))
    assert np.array_equal(loaded.forward(batch_of(5)), before)


@pytest.mark.parametrize("backend", EXPORTED)
def test_other_failures_of_a_forward_keep_their_class(model: Path, backend: str) -> None:
    """Only memory errors are worth a smaller batch."""
    loaded = load(model, backend)
    outside = {name: np.full((1, 5), 10**6) for name in ("input_ids", "attention_mask")}
    broken = {**outside, "token_type_ids": np.zeros((1, 5, 2), dtype=np.int64)}
    with pytest.raises(Exception, match=r".") as failure:
        loaded.forward(broken)
    assert not isinstance(failure.value, BackendOutOfMemory)


def test_an_unknown_provider_is_refused_with_the_known_ones(model: Path) -> None:
    """A typing error must not silently mean the CPU."""
    with pytest.raises(ConfigError, match=r"provider CudaProvider is not in this onnxruntime \(.*CPUExecution"):
        load(model, "onnx", providers=("CudaProvider",))


def test_a_provider_can_be_chosen(model: Path) -> None:
    """The order given is the order of preference."""
    loaded = load(model, "onnx", providers=("CPUExecutionProvider",))
    assert loaded.device == "cpu"


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_its_runtime_is_refused(model: Path, device: str) -> None:
    """The remedy is a package."""
    with pytest.raises(ConfigError, match=r"needs onnxruntime-gpu: pip install 'crossrank\[gpu\]'"):
        load(model, "onnx", device=device)


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("backend", EXPORTED)
def test_without_a_gpu_auto_means_the_cpu(model: Path, backend: str, device: str) -> None:
    """On this machine."""
    assert load(model, backend, device=device, providers=()).device == "cpu"


def test_an_unknown_device_is_refused(model: Path) -> None:
    """With the ones there are."""
    with pytest.raises(ConfigError, match=r"device 'tpu' is unknown; choose auto, cpu, cuda or cuda:N"):
        load(model, "onnx", device="tpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "tpu"])
def test_openvino_refuses_other_devices_than_the_cpu(model: Path, device: str) -> None:
    """It is our CPU backend."""
    with pytest.raises(ConfigError, match=f"runs on the CPU, not on {device}; choose the onnx backend"):
        load(model, "openvino", device=device)


def test_openvino_refuses_half_precision(model: Path) -> None:
    """The CPU plugin would ignore it."""
    with pytest.raises(ConfigError, match="computes in fp32 or bf16, not in fp16"):
        load(model, "openvino", precision="fp16")


RELOADS = """
import signal, sys
from pathlib import Path
from app.model.artifact import read_artifact
from app.model.backends import BackendOptions
from app.model.backends.openvino import OpenVinoBackend

caught = []
signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
artifact = read_artifact(Path(sys.argv[1]))
old = OpenVinoBackend(artifact, BackendOptions())
new = OpenVinoBackend(artifact, BackendOptions())
del old
del new
signal.raise_signal(signal.SIGTERM)
assert caught == [signal.SIGTERM]
"""


def test_a_signal_is_handled_after_openvino_models_were_dropped_in_the_order_of_their_loading(model: Path) -> None:
    """With a core for each, the thread was left with a stack for handlers that was gone: a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", RELOADS, str(model)], check=False)
    assert done.returncode == 0


@pytest.mark.skipif("BF16" in cpu_capabilities(), reason="this CPU has bf16 arithmetic")
def test_openvino_refuses_to_emulate_bf16(model: Path) -> None:
    """Emulated, it is slower than fp32 and not to be trusted."""
    with pytest.raises(ConfigError, match="this CPU has no bf16 arithmetic"):
        load(model, "openvino", precision="bf16")


@pytest.mark.parametrize("backend", EXPORTED)
def test_the_number_of_threads_does_not_change_scores(model: Path, backend: str) -> None:
    """Explicit counts are accepted; 0 follows the cgroup."""
    expected = logits(model, backend, threads=0)
    for threads in (1, 2):
        np.testing.assert_allclose(logits(model, backend, threads=threads), expected, atol=1e-5)
