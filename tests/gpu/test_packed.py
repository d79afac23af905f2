"""Scoring without padding on a GPU: kernels, CUDA graphs, threads and memory. Run with `pytest -m gpu`."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from app.model.artifact import read_artifact
from app.model.backends import BackendOptions
from app.model.backends.cuda_graphs import EAGER_RUNS, CudaCapture, Graphs
from app.model.backends.torch import TorchBackend
from app.model.backends.torch_devices import CpuDevice, CudaDevice
from app.model.backends.torch_passes import TOLERANCES, PackedPass, PaddedPass, packed_pass
from app.model.batch_budget import GPU_BUDGETS, measure_budget
from app.model.cross_encoder import CrossEncoder
from app.model.packed.buckets import Bucket
from app.model.packed.gpu_attention import attend_on_gpu
from app.model.packed.grid_attention import attend_in_grid
from app.model.packed.network import Attention
from app.model.packed.select import network_of
from app.model.types import Encoded, FloatArray
from tests.unit.model.padded_batches import LENGTHS, batch_of, score, segments
from tests.unit.training.cross_encoder.forward_models import (
    FAMILIES,
    build,
    distance,
    gradients,
    padding_of,
    rows_of,
    without_dropout,
)
from training.cross_encoder.forward import score_rows
from training.cross_encoder.padded import PaddedScorer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="no CUDA device on this machine"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning"),
]
HALVES = [torch.float16, torch.bfloat16]
KERNELS = [
    (torch.float32, attend_in_grid),
    *((dtype, way) for dtype in HALVES for way in (attend_on_gpu, attend_in_grid)),
]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def device() -> CudaDevice:
    return CudaDevice(torch.device("cuda"))


def on_gpu(family: str, dtype: torch.dtype = torch.float16) -> PreTrainedModel:
    """Small weights, so that a half's rounding is not blown up; tables of angles stay in float32, as when loaded."""
    model = build(family, initializer_range=0.1)
    tables = {name: table.cuda() for name, table in model.named_buffers()}
    model.to("cuda", dtype)
    for name, table in tables.items():
        owner, _, own_name = name.rpartition(".")
        setattr(model.get_submodule(owner), own_name, table)
    torch.cuda.synchronize()
    return model


def with_attention(model: PreTrainedModel, attention: Attention, capture: CudaCapture | None = None) -> PackedPass:
    kind = network_of(model)
    assert kind is not None
    with torch.no_grad():
        network = kind(model, next(model.parameters()).dtype, attention)
    torch.cuda.synchronize()
    return PackedPass(network, segments(model), capture)


def close(found: FloatArray, expected: FloatArray, dtype: torch.dtype) -> None:
    """Within a thousandth in float32, else a tenth of what a broken kernel is told by."""
    unit = max(1.0, float(np.abs(expected).max()))
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= unit * (1e-3 if dtype == torch.float32 else TOLERANCES[dtype] / 2)


@pytest.mark.parametrize(("dtype", "attention"), KERNELS)
def test_scores_are_those_of_the_padded_batch_on_the_cpu(
    family: str, dtype: torch.dtype, attention: Attention, device: CudaDevice
) -> None:
    """Every architecture, precision and kernel; alone and among others."""
    on_cpu = build(family, initializer_range=0.1)
    model, rows = on_gpu(family, dtype), rows_of(LENGTHS)
    expected = score(PaddedPass(on_cpu, segments(on_cpu)), batch_of(on_cpu, rows), CpuDevice())
    way = with_attention(model, attention)
    close(score(way, batch_of(model, rows), device), expected, dtype)
    alone = np.concatenate([score(way, batch_of(model, [row]), device) for row in rows])
    close(alone, expected, dtype)


@pytest.mark.parametrize(("dtype", "attention"), KERNELS)
def test_graphs_give_what_the_eager_pass_gives(
    family: str, dtype: torch.dtype, attention: Attention, device: CudaDevice, caplog: pytest.LogCaptureFixture
) -> None:
    """Many buckets, many batches of each, in turn; nothing had to be given up."""
    model = on_gpu(family, dtype)
    graphs, eager = with_attention(model, attention, CudaCapture()), with_attention(model, attention)
    for turn in range(EAGER_RUNS + 3):
        for count in (1, 2, 5, 11, 40, 90):
            rows = rows_of([1 + (7 * turn + 13 * row) % 90 for row in range(count)], seed=turn)
            batch = batch_of(model, rows)
            close(score(graphs, batch, device), score(eager, batch, device), dtype)
    assert not caplog.records


def test_the_backend_takes_kernels_and_graphs(minilm_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In every precision, without falling back on padding or on eager passes."""
    with caplog.at_level(logging.WARNING):
        for precision in ("fp32", "fp16", "bf16"):
            backend = TorchBackend(read_artifact(minilm_dir), BackendOptions(device="cuda", precision=precision))  # type: ignore[arg-type]
            for _ in range(EAGER_RUNS + 3):
                backend.forward(
                    {name: np.ones((7, 33), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
                )
    assert not [record for record in caplog.records if "going on without" in record.message]
    assert not [record for record in caplog.records if "scoring with padding" in record.message]


@pytest.fixture(scope="module")
def minilm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real weights under a seeded head."""
    from tests.unit.model.families import write_minilm

    return write_minilm(tmp_path_factory.mktemp("models") / "minilm")


def some_rows(count: int, seed: int) -> list[Encoded]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 200, count)
    return [Encoded(rng.integers(1000, 2000, n).astype(np.int32), int(n) // 2, int(n)) for n in lengths]


@pytest.mark.parametrize("prepared", [True, False])
def test_several_threads_and_models_at_a_time(minilm_dir: Path, prepared: bool) -> None:
    """Each gets its own scores, while graphs are being captured too; prepared batches may wait and be used twice."""
    artifact, options = read_artifact(minilm_dir), BackendOptions(device="cuda", precision="fp16")
    models = [CrossEncoder.of(artifact, TorchBackend(artifact, options)) for _ in range(2)]
    batches = [models[0].tokenizer.pad(some_rows(1 + seed % 30, seed)) for seed in range(120)]
    expected = [models[0].forward(batch) for batch in batches]

    def work(turn: int) -> float:
        backend, index = models[turn % 2].backend, turn % len(batches)
        assert isinstance(backend, TorchBackend)
        batch = backend.prepare(batches[index]) if prepared else batches[index]
        found = [backend.forward(batch) for _ in range(2)]
        return max(float(np.abs(each - expected[index]).max()) for each in found)

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(600))) < 0.05 * np.ptp(np.concatenate(expected))


def test_few_graphs_are_kept(device: CudaDevice) -> None:
    """The least recently used ones give way, and their pool lives on."""
    model = on_gpu("bert")
    way = with_attention(model, attend_on_gpu)
    graphs = Graphs(way._score, CudaCapture(), most=2)
    for turn in range(4):
        for tokens in (64, 128, 192, 256):
            bucket = Bucket(tokens, 4, 128)
            whole = np.zeros(2 * tokens + 5, dtype=np.int64)
            whole[:tokens] = 3 + turn
            whole[2 * tokens + 1 :] = np.minimum(np.arange(1, 5) * (tokens // 2), tokens)
            with torch.inference_mode():
                found = device.run(device.upload(whole), lambda inputs, bucket=bucket: graphs(inputs, bucket))
                expected = device.run(device.upload(whole), lambda inputs, bucket=bucket: way._score(inputs, bucket))
            close(found, expected, torch.float16)
    assert graphs.on
    assert len(graphs._kept) == 2


def test_a_capture_that_fails_leaves_the_eager_pass(device: CudaDevice, caplog: pytest.LogCaptureFixture) -> None:
    """Waiting for the device is forbidden in a capture; the scores go on, and so does the device."""

    def waits(inputs: Tensor, bucket: Bucket) -> Tensor:
        return inputs[:, None].float() * float(inputs.sum().item())

    graphs = Graphs(waits, CudaCapture())
    for value in range(EAGER_RUNS + 5):
        whole = np.full(9, value, dtype=np.int64)
        found = device.run(device.upload(whole), lambda inputs: graphs(inputs, Bucket(2, 4, 16)))
        np.testing.assert_array_equal(found[:, 0], whole * whole.sum())
    assert not graphs.on
    assert len([record for record in caplog.records if "going on without CUDA graphs" in record.message]) == 1


def test_the_budget_is_measured_within_the_memory(minilm_dir: Path) -> None:
    """And what the measurement took is given back."""
    artifact = read_artifact(minilm_dir)
    backend = TorchBackend(artifact, BackendOptions(device="cuda", precision="fp16"))
    model = CrossEncoder.of(artifact, backend)
    free = backend.free_memory_bytes()
    figures = measure_budget(model, 256)
    assert figures["max_batch_tokens"] in GPU_BUDGETS
    assert backend.free_memory_bytes() > 0.9 * free


@pytest.mark.parametrize("autocast", HALVES)
def test_training_without_padding_gives_the_gradient_of_the_padded_batch(family: str, autocast: torch.dtype) -> None:
    """Error of scores and gradient at most double that of the padded pass in the same precision."""
    model = build(family, initializer_range=0.1).cuda().train()
    without_dropout(model)
    rows, pad = rows_of(LENGTHS), padding_of(model)
    scores, gradient = gradients(model, lambda: PaddedScorer(model)([rows], pad))
    with torch.autocast("cuda", autocast):
        theirs = gradients(model, lambda: PaddedScorer(model)([rows], pad))
        ours = gradients(model, lambda: score_rows(model, rows, pad=pad, chunk_tokens=200))
    assert ours[1].isfinite().all()
    assert distance(ours[0], scores) < max(2 * distance(theirs[0], scores), 0.02)
    assert distance(ours[1], gradient) < max(2 * distance(theirs[1], gradient), 0.05)


def test_training_with_dropout_is_distributed_as_the_padded_pass() -> None:
    """Mean and spread over many draws, attention's dropout included."""
    model = build("bert", initializer_range=0.15, num_labels=1).cuda().train()
    rows, pad = rows_of([9]) * 3000, padding_of(model)
    torch.manual_seed(0)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        ours = score_rows(model, rows, pad=pad).double()
        theirs = PaddedScorer(model)([rows], pad).double()
    error = (ours.var() / len(rows) + theirs.var() / len(rows)).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4.5 * error + 0.01
    assert ours.std() / theirs.std() == pytest.approx(1, abs=0.08)


def test_order_of_rows_survives_the_sorting(device: CudaDevice) -> None:
    """The pass that the backend takes, on rows in any order."""
    model = on_gpu("modernbert")
    kind = network_of(model)
    assert kind is not None
    way, rows = packed_pass(model, kind, segments(model)), rows_of(LENGTHS)
    forth, back = (score(way, batch_of(model, each), device) for each in (rows, rows[::-1]))
    close(forth, back[::-1], torch.float16)
