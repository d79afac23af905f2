"""Scoring without padding against scoring with it, on tiny random models of every architecture that has both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from app.model.artifact import read_artifact
from app.model.backends import BackendOptions, torch_passes
from app.model.backends.cuda_graphs import Score
from app.model.backends.torch import Prepared, TorchBackend
from app.model.backends.torch_devices import CpuDevice
from app.model.backends.torch_passes import PackedPass, PaddedPass, Pass, Work, best_pass
from app.model.bucketing import LEAST
from app.model.cross_encoder import CrossEncoder
from app.model.packed.cores import on_cores
from app.model.packed.grid_attention import attend_in_grid
from app.model.packed.network import Attention
from app.model.packed.select import network_of
from app.model.types import Batch, FloatArray
from tests.unit.model.padded_batches import LENGTHS, batch_of, segments
from tests.unit.model.padded_batches import score as score_on
from tests.unit.training.cross_encoder.forward_models import FAMILIES, build, rows_of

TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return build(request.param)


@torch.inference_mode()
def raw(work: Work) -> FloatArray:
    """All rows of logits, in whatever order."""
    device = CpuDevice()
    return device.run(device.upload(work.inputs), work.score)


def score(way: Pass, batch: Batch) -> FloatArray:
    return score_on(way, batch, CpuDevice())


def packed(model: PreTrainedModel) -> PackedPass:
    """What the backend takes."""
    found = best_pass(model, segments(model), raw)
    assert isinstance(found, PackedPass)
    return found


@pytest.mark.parametrize("lengths", [LENGTHS, sorted(LENGTHS, reverse=True), [17], [8, 8, 8]])
def test_scores_are_those_of_the_padded_batch(model: PreTrainedModel, lengths: list[int]) -> None:
    """In the order of the batch, whether its rows are sorted or not."""
    batch = batch_of(model, rows_of(lengths))
    found = score(packed(model), batch)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, score(PaddedPass(model, segments(model)), batch), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("threads", "parts"), [(1, [1]), (3, [3]), (8, [4])])
def test_rows_are_shared_out_among_the_cores(
    model: PreTrainedModel, threads: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many parts as cores, or as many as have enough tokens; the scores are those of the padded batch."""
    lengths = [120, 119, 118, 100, 99, 98, 90, 90, 80, 80, 60, 60]
    assert 4 * LEAST < sum(lengths) < 5 * LEAST
    found = []

    def watched(work: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        found.append(len(columns[0]))
        return on_cores(work, *columns)

    monkeypatch.setattr(torch_passes, "on_cores", watched)
    batch = batch_of(model, rows_of(lengths))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        scores = score(packed(model), batch)
    finally:
        torch.set_num_threads(before)
    assert (found or [1]) == parts
    np.testing.assert_allclose(scores, score(PaddedPass(model, segments(model)), batch), atol=TOLERANCE, rtol=TOLERANCE)


def test_a_score_does_not_depend_on_the_batch_or_the_side_of_the_padding(model: PreTrainedModel) -> None:
    rows, way = rows_of(LENGTHS), packed(model)
    together = score(way, batch_of(model, rows))
    alone = np.concatenate([score(way, batch_of(model, [row])) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_array_equal(together, score(way, batch_of(model, rows, left=True)))


class Recorder:
    """Records as a CUDA graph does: what is captured later answers from static buffers of one shape."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, score: Score, inputs: Tensor) -> Score:
        static = inputs.clone()
        self.shapes.append(tuple(inputs.shape))
        answer = score(static)

        def replay(inputs: Tensor) -> Tensor:
            static.copy_(inputs)
            answer.copy_(score(static))
            return answer

        return replay


def test_batches_that_fill_a_bucket_score_alike(model: PreTrainedModel) -> None:
    """Different batches of one bucket, first without and then with its graph; the rows that fill it are left out."""
    kind = network_of(model)
    assert kind is not None
    recorder = Recorder()
    with torch.no_grad():
        way = PackedPass(kind(model, torch.float32, attend_in_grid), segments(model), recorder)
    exact = packed(model)
    for seed in range(5):
        rows = rows_of([length - seed % 3 for length in LENGTHS], seed)
        np.testing.assert_allclose(
            score(way, batch_of(model, rows)), score(exact, batch_of(model, rows)), rtol=TOLERANCE, atol=TOLERANCE
        )
    assert recorder.shapes == [(2 * 384 + 16 + 1,)]


def _wrong(attention: Attention) -> Callable[..., Tensor]:
    return lambda *arguments, **others: attention(*arguments, **others) * 1.5


def _no_number(attention: Attention) -> Callable[..., Tensor]:
    return lambda *arguments, **others: attention(*arguments, **others) * torch.nan


def _failing(attention: Attention) -> Callable[..., Tensor]:
    def fail(*arguments: object, **others: object) -> Tensor:
        raise RuntimeError("no kernel image is available\nfor this device")

    return fail


@pytest.mark.parametrize("broken", [_wrong, _no_number, _failing])
def test_kernels_that_do_not_give_the_padded_scores_are_not_used(
    broken: Callable[[Attention], Attention], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is served with padding, and the log says why."""
    monkeypatch.setattr(torch_passes, "inference_attention", lambda model: broken(attend_in_grid))
    found = best_pass(build("bert"), True, raw)
    assert isinstance(found, PaddedPass)
    assert "scoring with padding" in caplog.text


def test_a_padded_batch_can_be_prepared_in_advance(reranker_dir: Path) -> None:
    """As `pad` does for the batcher; another backend's preparation is not used."""
    artifact = read_artifact(reranker_dir)
    first, second = (TorchBackend(artifact, BackendOptions(device="cpu")) for _ in range(2))
    model = CrossEncoder.of(artifact, first)
    batch = model.pad(model.tokenizer.encode_pairs([("cat", "dog"), ("cat", "a lazy dog")], model.options))
    assert isinstance(batch, Prepared)
    expected = first.forward(dict(batch))
    for backend in (first, first, second):
        np.testing.assert_array_equal(backend.forward(batch), expected)
