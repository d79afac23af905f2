"""Candidates against each other: tiny real models behind backends that are slow, wrong or broken on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import ArtifactError
from app.model.backends import Backend
from app.model.candidates import Candidate
from app.model.contest import NO_TIME, SHAPES, Contest, hold, sample_batches
from app.model.cross_encoder import CrossEncoder
from app.model.types import Batch, FloatArray

DEFAULT, OTHER = Candidate("onnx", "a.onnx", "fp32"), Candidate("openvino", "a.onnx", "fp32")


@dataclass
class Altered:
    """A backend whose answers take time and pass through a function."""

    inner: Backend
    delay_s: float = 0.0
    change: Callable[[FloatArray], FloatArray] = lambda logits: logits
    name: str = "altered"
    device: str = "cpu"
    source: str = "a.onnx"

    def forward(self, batch: Batch) -> FloatArray:
        time.sleep(self.delay_s)
        return self.change(self.inner.forward(batch))


@pytest.fixture(scope="module")
def model(reranker_dir: Path) -> CrossEncoder:
    return CrossEncoder.load(reranker_dir)


def broken(logits: FloatArray) -> FloatArray:
    raise RuntimeError("illegal instruction")


def fight(
    model: CrossEncoder,
    entrants: dict[Candidate, Altered | Exception],
    precision: str = "fp32",
    limit_s: float = 60.0,
) -> Contest:
    def build(candidate: Candidate) -> CrossEncoder:
        entrant = entrants[candidate]
        if isinstance(entrant, Exception):
            raise entrant
        return replace(model, backend=entrant)

    return hold(list(entrants), build, lambda _: precision, limit_s)


@pytest.mark.parametrize(("delays", "winner"), [((0.05, 0.0), OTHER), ((0.0, 0.05), DEFAULT)])
def test_the_faster_one_wins(model: CrossEncoder, delays: tuple[float, float], winner: Candidate) -> None:
    contest = fight(model, {DEFAULT: Altered(model.backend, delays[0]), OTHER: Altered(model.backend, delays[1])})
    assert contest.winner == winner
    assert contest.rates[winner] == max(contest.rates.values())
    assert contest.complete
    assert isinstance(contest.model.backend, Altered)
    assert contest.model.backend.delay_s == 0.0


@pytest.mark.parametrize(
    ("precision", "error", "dropped"),
    [("fp32", 1e-5, False), ("fp32", 1.0, True), ("int8", 0.2, False), ("int8", 100.0, True)],
)
def test_one_that_scores_otherwise_is_left_out(
    model: CrossEncoder, precision: str, error: float, dropped: bool
) -> None:
    """However fast it is; how much is too much depends on the precision."""
    contest = fight(
        model,
        {DEFAULT: Altered(model.backend, 0.005), OTHER: Altered(model.backend, 0, lambda x: x + np.float32(error))},
        precision,
    )
    assert (contest.winner == DEFAULT) is dropped
    assert (OTHER in contest.dropped) is dropped


@pytest.mark.parametrize("loses", [Altered, ArtifactError("no such operator"), ImportError("no libtbb.so")])
def test_one_that_fails_is_left_out(model: CrossEncoder, loses: type[Altered] | Exception) -> None:
    """At loading, or in a batch."""
    loser = loses if isinstance(loses, Exception) else Altered(model.backend, 0, broken)
    contest = fight(model, {DEFAULT: Altered(model.backend), OTHER: loser})
    assert contest.winner == DEFAULT
    assert list(contest.dropped) == [OTHER]


def test_where_the_default_does_not_load_another_serves(model: CrossEncoder) -> None:
    contest = fight(model, {DEFAULT: ArtifactError("no such operator"), OTHER: Altered(model.backend)})
    assert contest.winner == OTHER
    assert contest.dropped == {DEFAULT: "no such operator"}


def test_where_none_loads_the_default_says_why(model: CrossEncoder) -> None:
    with pytest.raises(ArtifactError, match="first"):
        fight(model, {DEFAULT: ArtifactError("first"), OTHER: ArtifactError("second")})


def test_what_there_is_no_time_to_load_makes_the_contest_incomplete(model: CrossEncoder) -> None:
    contest = fight(model, {DEFAULT: Altered(model.backend), OTHER: Altered(model.backend)}, limit_s=-1.0)
    assert contest.dropped == {OTHER: NO_TIME}
    assert (contest.winner, contest.complete) == (DEFAULT, False)


def test_the_time_for_measuring_is_bounded(model: CrossEncoder) -> None:
    """Two batches per turn of 0.05 s each: a turn more than the limit at most."""
    started = time.perf_counter()
    contest = fight(model, {DEFAULT: Altered(model.backend, 0.05), OTHER: Altered(model.backend, 0.05)}, limit_s=0.3)
    assert time.perf_counter() - started < 0.3 + 4 * 0.05 + 0.5
    assert not contest.complete


def test_the_sample_fills_its_shapes_and_the_model_s_limit(reranker_dir: Path, model: CrossEncoder) -> None:
    assert [batch["input_ids"].shape for batch in sample_batches(model)] == list(SHAPES)
    assert all((batch["attention_mask"] == 1).all() for batch in sample_batches(model))
    assert len(np.unique(sample_batches(model)[0]["input_ids"], axis=0)) == SHAPES[0][0]
    short = CrossEncoder.of(model.artifact, model.backend, max_length=20)
    assert [batch["input_ids"].shape for batch in sample_batches(short)] == [(4, 20), (1, 20)]
