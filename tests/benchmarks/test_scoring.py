"""The scoring scenario's processes, rounds and texts, without a model worth measuring."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from app.model.artifact import read_artifact
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions, resolve
from app.model.manifest import Manifest
from app.model.types import EncodeOptions
from tests.benchmarks import foreign, forms, plot
from tests.benchmarks.forms import FORMS, PEER, Form, prepare
from tests.benchmarks.ranking import JUDGED, SETS
from tests.benchmarks.scoring_plan import LONG, SHORT, Plan, sample, texts_of, turn
from tests.benchmarks.scoring_process import Answer, scorer
from tests.benchmarks.scoring_results import MIX
from tests.benchmarks.scoring_rounds import measure_mix
from tests.benchmarks.texts import TextSource
from training.parent import load_tokenizer
from training.publish import seal

PAIRS = [("what is the capital", "paris"), ("who jumps", "the quick brown fox"), ("a", "b c d")]
FP32 = Form("onnx fp32", "onnx", "onnx")
SMALL = Plan(
    rounds=2,
    pairs={SHORT: 6},
    sampled={SHORT: 3},
    budgets=(256, 512),
    peer_batches=(32,),
    lone={SHORT: 2},
    lone_turns=2,
    documents=3,
)


def exported(model: Path, place: Path) -> Path:
    """A copy of a tiny model that says of its graph which target it is."""
    shutil.copytree(model, place)
    seal(place, Manifest(64, "sigmoid", ["LABEL_0"], graphs={"onnx/model.onnx": {"target": "onnx"}}))
    return place


def test_a_form_scores_in_a_process_of_its_own_call_by_call(reranker_dir: Path, tmp_path: Path) -> None:
    """The scores are those of the form, and the process ends with the block."""
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({"some": [PAIRS, PAIRS[:1]]}))
    directory = exported(reranker_dir, tmp_path / "exported")
    with scorer("onnx fp32", reranker_dir, directory, texts) as own:
        answer = own.score("some", 512)
        process = own.process
        assert process.environ()["OMP_WAIT_POLICY"] == "passive"
    assert not process.is_running()
    assert [len(scores) for scores in answer.scores] == [3, 1]
    assert all(taken > 0 for taken in answer.seconds)
    assert np.allclose(answer.scores[0], CrossEncoder.load(reranker_dir).predict(PAIRS), atol=1e-6)


def test_a_process_that_dies_is_reported_with_the_end_of_its_log(reranker_dir: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({}))
    with (
        pytest.raises(RuntimeError, match=r"onnx fp32: ended; see .*scorer-onnx-fp32\.log:[\s\S]*KeyError: 'absent'"),
        scorer("onnx fp32", reranker_dir, exported(reranker_dir, tmp_path / "exported"), texts) as own,
    ):
        own.score("absent", 512)


class Fake:
    """A scorer at a fixed speed [pairs/s], twice that at the budget that suits it."""

    def __init__(self, name: str, rate: float, best: int, score: float = 0.5) -> None:
        self.name, self.rate, self.best, self.value = name, rate, best, score
        self.process = psutil.Process()
        self.orders: list[tuple[str, int]] = []

    def score(self, texts: str, size: int) -> Answer:
        self.orders.append((texts, size))
        calls = {SHORT: [6], sample(SHORT): [3]}.get(texts, [3])
        rate = self.rate * (1 + (size == self.best))
        scores = [[self.value + 0.01 * i for i in range(count)] for count in calls]
        return Answer([count / rate for count in calls], scores)


def test_forms_take_turns_at_the_budget_that_is_best_for_them() -> None:
    """The first round warms up; rates are beside the peer's of the same round; the peer keeps its default batch."""
    fakes: Any = {PEER: Fake(PEER, 10.0, 0), "onnx fp32": Fake("onnx fp32", 20.0, 256)}
    (peer, own), others = measure_mix(SHORT, SMALL, fakes, [FP32], {"fp32": 80.0})
    assert (own.size, peer.size) == (256, 32)
    assert own.sweep == pytest.approx({256: 40.0, 512: 20.0})
    assert (own.rates, own.ratios) == (pytest.approx([40.0, 40.0]), pytest.approx([4.0, 4.0]))
    assert own.of_peak == pytest.approx(50.0)
    assert own.latencies_ms == pytest.approx([75.0, 75.0])
    assert own.latency_sweep == {256: pytest.approx([75.0]), 512: pytest.approx([150.0])}
    assert (own.difference, own.tau) == (0.0, 1.0)
    assert len(others) == SMALL.rounds
    assert fakes["onnx fp32"].orders == [
        *[(sample(SHORT), 256), (sample(SHORT), 512)] * 2,
        *[(SHORT, 256)] * 3,
        (turn(SHORT, 0), 256),
        (turn(SHORT, 1), 256),
        *[(turn(SHORT, 0), 256), (turn(SHORT, 0), 512)],
    ]


def test_scores_that_are_not_what_a_form_promises_end_the_run() -> None:
    fakes: Any = {PEER: Fake(PEER, 10.0, 0), "onnx fp32": Fake("onnx fp32", 20.0, 256, score=0.5001)}
    with pytest.raises(SystemExit, match=r"onnx fp32, 20 tokens: scores differ by 0\.0001 from"):
        measure_mix(SHORT, SMALL, fakes, [FP32], {"fp32": 80.0})
    int8 = replace(FP32, kind="int8")
    (_, own), _ = measure_mix(SHORT, SMALL, fakes, [int8], {"fp32": 80.0, "int8": 80.0})
    assert own.difference == pytest.approx(1e-4, rel=0.01)


def test_texts_have_the_lengths_that_they_are_named_by() -> None:
    """The embedded model's tokenizer; lone requests and the sample are of the same lengths."""
    artifact = read_artifact(resolve("default", HubOptions(), lambda names: names))
    plan = Plan(pairs={MIX: 8, SHORT: 8, LONG: 2}, sampled={MIX: 4, SHORT: 4, LONG: 1}, documents=2)
    texts = texts_of(plan, TextSource(artifact.tokenizer_file))
    tokenizer = load_tokenizer(artifact)
    for mix, tokens in ((SHORT, 20), (LONG, 512)):
        calls = [*texts[mix], *texts[sample(mix)], *texts[turn(mix, 2)]]
        rows = tokenizer.encode_pairs([pair for call in calls for pair in call], EncodeOptions(max_length=600))
        assert {len(row) for row in rows} == {tokens}
    assert [len(texts[name][0]) for name in (MIX, sample(MIX), turn(MIX, 0))] == [8, 4, 2]
    assert sum(len(texts[turn(MIX, number)]) for number in range(plan.lone_turns)) == 30


def test_exported_graphs_are_used_again_unless_they_are_of_other_weights(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier run's graphs under another reference would be compared with the wrong scores."""
    monkeypatch.setattr(forms, "FORMS", [FP32])
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        exported(Path(command[4]), Path(command[6]))

    monkeypatch.setattr("tests.benchmarks.forms.subprocess.run", run)
    assert prepare(reranker_dir, tmp_path) == tmp_path / "exported"
    assert prepare(reranker_dir, tmp_path) == tmp_path / "exported"
    assert len(commands) == 1
    other = shutil.copytree(reranker_dir, tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"other weights")
    prepare(other, tmp_path)
    prepare(other, tmp_path)
    assert len(commands) == 2
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == b"other weights"


def test_forms_that_the_processor_cannot_compute_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "cpu_model", lambda: "Some CPU avx512_vnni")
    assert [form.name for form in FORMS if form not in forms.runnable()] == [
        "torch bf16",
        "openvino bf16",
        "openvino int8 NNCF + bf16",
    ]
    monkeypatch.setattr(forms, "cpu_model", lambda: "Some CPU amx_bf16")
    assert [form.name for form in FORMS if form not in forms.runnable()] == [
        "vnni fp32",
        "vnni int16",
        "vnni int8",
    ]
    monkeypatch.setattr(forms, "cpu_model", lambda: "Some CPU amx_bf16 avx512_vnni")
    assert forms.runnable() == list(FORMS)


def test_foreign_cpu_is_what_neither_we_nor_our_processes_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 s of all programs in 10 s of 2 cores, of which 3 s ours."""
    clock = {"now": 100.0, "busy": 50.0, "theirs": 7.0}
    other: Any = SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=clock["theirs"], system=1.0))
    still = SimpleNamespace(user=1.0, system=1.0, children_user=0.0, children_system=0.0)
    monkeypatch.setattr(foreign, "CORES", 2)
    monkeypatch.setattr(foreign, "_busy_s", lambda: clock["busy"])
    monkeypatch.setattr("tests.benchmarks.foreign.time.perf_counter", lambda: clock["now"])
    monkeypatch.setattr("tests.benchmarks.foreign.psutil.Process", lambda: SimpleNamespace(cpu_times=lambda: still))
    watch = foreign.ForeignCpu([other])
    clock |= {"now": 110.0, "busy": 55.0, "theirs": 10.0}
    assert watch.percent() == pytest.approx(10.0)


PANELS = [*plot.PANELS["scoring"], *plot.PANELS["ranking"]]


@pytest.mark.parametrize("panel", PANELS)
def test_legends_cover_nothing_that_is_drawn(panel: Any) -> None:
    """Neither the panel nor the label of its axis, with as many forms as there can be."""
    series: dict[str, list[float]] = {}
    for form in (PEER, *(form.name for form in FORMS)):
        series |= {f"{what}|{mix}|{form}": [1.0, 30.0] for what in ("pairs/s", "latency") for mix in (MIX, SHORT, LONG)}
        series |= {f"{what}|256,512|{form}": [10.0, 20.0] for what in ("budget", "latency by budget")}
    series |= {f"change|{form}|{name}": [0.001, 0.002] for form in JUDGED for name in SETS}
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    panel(axes, series)
    canvas.draw()
    legend = axes.get_legend()
    assert legend is not None
    drawn = legend.get_window_extent()
    assert drawn.y1 < axes.get_window_extent().y0
    assert drawn.y1 < axes.xaxis.label.get_window_extent().y0
    assert drawn.y0 >= 0
    assert drawn.x0 >= 0
    assert drawn.x1 <= figure.bbox.width
