"""The CUDA paths of both runtimes, compared with the CPU. Run with `pytest -m gpu` on a machine that has a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.errors import BackendOutOfMemory
from app.model.artifact import read_artifact
from app.model.backends import BackendOptions, backend_class
from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder
from app.model.types import FloatArray
from tests.onnx_bert import with_appetite
from training.export import ExportOptions, export

pytestmark = [
    pytest.mark.gpu,
    # By the device and not by a runtime's opinion: a runtime that does not find the GPU is a failure here.
    pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="no CUDA device on this machine"),
]

WORDS = ["quick", "brown", "fox", "jumps", "what", "is", "the", "capital", "of", "france", "paris", "river"]
NAMES = ("input_ids", "attention_mask", "token_type_ids")


def texts(count: int) -> list[tuple[str, str]]:
    """Pairs of 2 to 400 words, the same every time."""
    rng = np.random.default_rng(0)
    return [
        (" ".join(rng.choice(WORDS, rng.integers(1, 12))), " ".join(rng.choice(WORDS, rng.integers(1, 400))))
        for _ in range(count)
    ]


PAIRS = [("", ""), *texts(63)]


def logits(directory: Path, backend: str, budget: Budget | None = None, **options: Any) -> FloatArray:
    model = CrossEncoder.load(directory, backend, BackendOptions(**options))
    return model.logits(model.tokenizer.encode_pairs(PAIRS, model.options), budget)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real weights under a seeded head, with an exported graph."""
    from tests.unit.model.families import write_minilm

    return write_minilm(tmp_path_factory.mktemp("models") / "minilm")


@pytest.fixture(scope="module")
def on_cpu(minilm: Path) -> FloatArray:
    """The reference: PyTorch, CPU, fp32."""
    return logits(minilm, "torch", device="cpu")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 0.02), ("bf16", 0.1)])
def test_torch_on_cuda_scores_as_on_the_cpu(minilm: Path, on_cpu: FloatArray, precision: str, tolerance: float) -> None:
    """fp32 to 1e-4; halves to 2 % and 10 % of the spread of the scores."""
    got = logits(minilm, "torch", device="cuda", precision=precision)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert np.abs(got - on_cpu).max() < (tolerance if precision == "fp32" else tolerance * np.ptp(on_cpu))


def test_onnx_runtime_on_cuda_scores_as_on_the_cpu(minilm: Path, on_cpu: FloatArray) -> None:
    """fp32 to 1e-4: TF32 is off."""
    np.testing.assert_allclose(logits(minilm, "onnx", device="cuda"), on_cpu, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def in_fp16(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of the export target onnx-fp16, alone in its directory."""
    output = tmp_path_factory.mktemp("fp16") / "out"
    export(minilm, output, ["onnx-fp16"], ExportOptions(pairs=64, allow_parity_loss=True))  # the head is random
    return output


def test_the_fp16_graph_on_cuda_scores_as_the_model_on_the_cpu(in_fp16: Path, on_cpu: FloatArray) -> None:
    """To 2 % of the spread of the scores, as PyTorch in fp16 does; none overflows, and they are float32."""
    got = logits(in_fp16, "onnx", device="cuda", graph="onnx/model_fp16.onnx")
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert 1e-6 < np.abs(got - on_cpu).max() < 0.02 * np.ptp(on_cpu)


def test_a_row_s_fp16_logit_on_cuda_does_not_depend_on_its_batch(in_fp16: Path, on_cpu: FloatArray) -> None:
    """One by one, and all padded to the longest."""
    alone, padded = (
        logits(in_fp16, "onnx", budget, device="cuda", graph="onnx/model_fp16.onnx")
        for budget in (Budget(1, 1), Budget(10**6, 1000, 0.0))
    )
    assert np.abs(alone - padded).max() < 0.02 * np.ptp(on_cpu)


def test_tensorrt_scores_as_the_cpu_where_it_is_installed(minilm: Path, on_cpu: FloatArray) -> None:
    """It may use TF32, so to 1e-2."""
    import onnxruntime as ort

    providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    if providers[0] not in ort.get_available_providers():
        pytest.skip("this onnxruntime has no TensorRT")
    np.testing.assert_allclose(logits(minilm, "onnx", providers=providers), on_cpu, atol=1e-2, rtol=0)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_auto_chooses_the_gpu(minilm: Path, backend: str) -> None:
    """And says so; a numbered device keeps its number."""
    assert CrossEncoder.load(minilm, backend).backend.device == "cuda"
    assert CrossEncoder.load(minilm, backend, BackendOptions(device="cuda:0")).backend.device == "cuda:0"


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_row_s_logit_on_cuda_does_not_depend_on_its_batch(minilm: Path, on_cpu: FloatArray, backend: str) -> None:
    """One by one, in tight batches, and all padded to the longest."""
    for budget in (Budget(1, 1), Budget(8192, 64, 0.8), Budget(10**6, 1000, 0.0)):
        got = logits(minilm, backend, budget, device="cuda")
        np.testing.assert_allclose(got, on_cpu, atol=1e-4, rtol=0)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leaves PyTorch a hundredth of the device."""
    import torch

    torch.cuda.set_per_process_memory_fraction(0.01)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_torch_out_of_memory_is_reported_and_survived(minilm: Path) -> None:
    """The next, smaller batch is answered as before."""
    backend = backend_class("torch")(read_artifact(minilm), BackendOptions(device="cuda"))
    small = {name: np.ones((1, 5), dtype=np.int64) for name in NAMES}
    before = backend.forward(small)
    with pytest.raises(BackendOutOfMemory, match="PyTorch ran out of memory"):
        backend.forward({name: np.ones((8192, 512), dtype=np.int64) for name in NAMES})
    np.testing.assert_allclose(backend.forward(small), before, atol=1e-5)


def test_onnx_runtime_out_of_memory_is_reported_and_survived(reranker_dir: Path, tmp_path: Path) -> None:
    """The next, smaller batch is answered as before."""
    model = Path(shutil.copytree(reranker_dir, tmp_path / "model"))
    onnx.save(with_appetite(onnx.load(model / "onnx/model.onnx")), model / "onnx/model.onnx")
    backend = backend_class("onnx")(read_artifact(model), BackendOptions(device="cuda"))
    small = {name: np.ones((1, 5), dtype=np.int64) for name in NAMES}
    before = backend.forward(small)
    with pytest.raises(BackendOutOfMemory, match="ONNX Runtime ran out of memory"):
        backend.forward({name: np.ones((1, 512), dtype=np.int64) for name in NAMES})
    np.testing.assert_allclose(backend.forward(small), before, atol=1e-5)


def test_compiled_torch_on_cuda_scores_as_on_the_cpu(minilm: Path, on_cpu: FloatArray) -> None:
    """`compile` changes the speed only."""
    np.testing.assert_allclose(logits(minilm, "torch", device="cuda", compile=True), on_cpu, atol=1e-3, rtol=0)
