"""Exported graphs against the PyTorch model they were made of."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from app.errors import ConfigError
from app.model.backends import BackendOptions
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions
from app.model.manifest import read_manifest
from tests.models import write_model
from tests.unit.model.fake_hub import FakeHub
from tests.unit.training.conftest import FACTS, write_lines
from tests.unit.training.export_models import FAMILIES, PAIRS, write_tiny
from training.__main__ import main
from training.errors import ParityError
from training.export import ExportOptions, export
from training.export_entry import graph_entry
from training.export_targets import TARGETS, Material, load_target
from training.parity import Figures
from training.parity_texts import arrange, read_texts
from training.parity_thresholds import Thresholds

ANYTHING = {
    "max_score_difference": 1.0,
    "mean_score_difference": 1.0,
    "min_kendall_tau": 0.0,
    "min_top10_overlap": 0.0,
    "max_ndcg10_loss": 1.0,
}
GRAPHS = {name: load_target(name).graph for name in TARGETS}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny products on two threads wait for each other where other work runs beside them."""
    for backend in ("torch", "onnx", "openvino"):
        monkeypatch.setattr(f"app.model.backends.{backend}.available_cpus", lambda: 1)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs that tell little words of the tiny models apart: every question with every answer."""
    path = tmp_path_factory.mktemp("texts") / "sample.jsonl"
    rows = [{"query": query, "answer": answer} for query, _ in FACTS for _, answer in FACTS]
    write_lines(path, list(rows))
    return path


@dataclass(frozen=True)
class Exported:
    """A tiny model of three labels, and what was exported of it."""

    model_type: str
    model: Path
    output: Path
    figures: dict[str, Figures]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Each family with its graphs, but for NNCF's, which takes its time."""
    root = tmp_path_factory.mktemp("families")
    model = write_tiny(request.param, root / "model", labels=3)
    options = ExportOptions(thresholds=ANYTHING, pairs=60)
    targets = ["onnx", "onnx-fp16", "onnx-int8", "onnx-int8-static", "openvino-bf16"]
    figures = export(model, root / "out", targets, options)
    return Exported(request.param, model, root / "out", figures)


def scores(directory: Path, target: str, pairs: list[tuple[str, str]] = PAIRS, *, measured: bool = False) -> np.ndarray:
    """In float32, or in the arithmetic of the measurement, which is bf16 for some where the CPU has it."""
    form = load_target(target)
    options = BackendOptions(graph=form.graph, precision=form.arithmetic if measured else "fp32")
    return CrossEncoder.load(directory, form.backend, options).predict(pairs)


def test_every_family_in_float32_gives_the_logits_of_torch(family: Exported) -> None:
    """The fused ONNX graph, in ONNX Runtime and in OpenVINO, at every length, beside rows of other lengths."""
    reference = CrossEncoder.load(family.model, backend="torch", max_length=128)
    rows = reference.tokenizer.encode_pairs(PAIRS, reference.options)
    expected = reference.logits(rows)
    assert np.ptp(expected, axis=0).min() > 0.01
    for backend in ("onnx", "openvino"):
        found = CrossEncoder.load(family.output, backend, BackendOptions(graph=GRAPHS["onnx"])).logits(rows)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("target", "mean"), [("onnx-fp16", 0.005), ("openvino-bf16", 0.04)])
def test_every_family_in_16_bits_stays_close(family: Exported, target: str, mean: float) -> None:
    """By what each number format rounds; random weights exaggerate here too."""
    figures = family.figures[target]
    assert figures["kendall_tau"] > 0.95
    assert 1e-6 < figures["mean_score_difference"] < mean


def test_every_family_in_float16_holds_no_float32_matrix(family: Exported) -> None:
    """The logits come out in float32 all the same."""
    graph = onnx.load(family.output / GRAPHS["onnx-fp16"]).graph
    matrices = {each.data_type for each in graph.initializer if len(each.dims) == 2}
    assert onnx.TensorProto.FLOAT16 in matrices
    assert onnx.TensorProto.FLOAT not in matrices
    assert [each.type.tensor_type.elem_type for each in graph.output] == [onnx.TensorProto.FLOAT]


@pytest.mark.parametrize("target", ["onnx-int8", "onnx-int8-static"])
def test_every_family_in_int8_stays_close(family: Exported, target: str) -> None:
    """Random weights exaggerate; the figures of a trained model are in LOG.md."""
    assert_close(family.figures[target])


@pytest.mark.parametrize(
    "model_type", ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name != "bert")]
)
def test_nncf_s_int8_stays_close(model_type: str, tmp_path: Path) -> None:
    """Of every family; it takes a quarter of a minute each."""
    options = ExportOptions(thresholds=ANYTHING, pairs=60)
    model = write_tiny(model_type, tmp_path / "model", labels=3)
    assert_close(export(model, tmp_path / "out", ["openvino-int8"], options)["openvino-int8"])


def assert_close(figures: Figures) -> None:
    assert figures["kendall_tau"] > 0.75
    assert figures["max_logit_difference"] > 1e-4
    assert figures["mean_score_difference"] < 0.1


FUSED = {
    "bert": {"MultiHeadAttention": 1, "LayerNormalization": 5, "BiasGelu": 2},
    "roberta": {"MultiHeadAttention": 1, "LayerNormalization": 5, "BiasGelu": 2},
    "xlm-roberta": {"MultiHeadAttention": 1, "LayerNormalization": 5, "BiasGelu": 2},
    "electra": {"MultiHeadAttention": 1, "LayerNormalization": 5, "BiasGelu": 2},
    "distilbert": {"MultiHeadAttention": 1, "LayerNormalization": 5, "BiasGelu": 2},
    "deberta-v2": {"LayerNormalization": 5, "BiasGelu": 2},
    "modernbert": {"LayerNormalization": 5, "Gelu": 2},
}


def test_operators_are_fused_in_every_layer(family: Exported) -> None:
    """Two layers each, the last without attention of all tokens; what a family cannot have fused is left out."""
    found = Counter(node.op_type for node in onnx.load(family.output / GRAPHS["onnx"]).graph.node)
    wanted = FUSED[family.model_type]
    assert {name: min(found[name], wanted[name]) for name in wanted} == wanted, found


def test_the_last_layer_is_computed_for_first_tokens_alone(family: Exported) -> None:
    """Seen in its GELU; those of the layer before are for all tokens."""
    graph = onnx.load(family.output / GRAPHS["onnx"])
    gelus = [node.output[0] for node in graph.graph.node if node.op_type in ("BiasGelu", "Gelu")][:2]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in gelus)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {each.name: np.ones((3, 7), dtype=np.int64) for each in session.get_inputs()}
    assert [value.shape[:2] for value in session.run(gelus, feed)] == [(3, 7), (3, 1)]


@pytest.mark.parametrize(
    ("model_type", "changed"),
    [("modernbert", {"classifier_pooling": "mean"}), ("deberta-v2", {"num_hidden_layers": 1, "conv_kernel_size": 3})],
)
def test_a_model_that_reads_all_tokens_keeps_its_last_layer(
    model_type: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    """A head that takes the mean; a convolution behind the only layer."""
    model = write_tiny(model_type, tmp_path / "model", **changed)
    export(model, tmp_path / "out", ["onnx"], ExportOptions(pairs=60))
    pairs = [("paris", document) for _, document in PAIRS]
    expected = CrossEncoder.load(model, backend="torch").predict(pairs)
    assert np.ptp(expected) > 0.001
    np.testing.assert_allclose(scores(tmp_path / "out", "onnx", pairs), expected, atol=1e-5)


@pytest.fixture(scope="module")
def all_targets(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    """One artifact with a graph of every target."""
    root = tmp_path_factory.mktemp("all")
    model = write_model(root / "model", hidden_size=64)
    export(model, root / "out", list(TARGETS), ExportOptions(texts, thresholds=ANYTHING))
    return root


def test_skip_connections_are_fused_with_layer_norms_for_gpus_alone(all_targets: Path) -> None:
    """On a CPU the joint operator is several times slower than the two."""
    found = {
        name: [node.op_type for node in onnx.load(all_targets / "out" / GRAPHS[name]).graph.node]
        for name in ("onnx", "onnx-fp16")
    }
    assert "SkipLayerNormalization" in found["onnx-fp16"]
    assert "SkipLayerNormalization" not in found["onnx"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_manifest_tells_how_faithful_a_graph_is(all_targets: Path, target: str) -> None:
    """Figures, the conditions they were taken under, and the verdict."""
    manifest = read_manifest(all_targets / "out")
    assert manifest is not None
    entry = manifest.graphs[GRAPHS[target]]
    assert entry["target"] == target
    assert entry["precision"] == load_target(target).precision
    assert entry["texts"] == "sample.jsonl"
    assert {"torch", "transformers", "onnxruntime", "openvino"} <= set(entry["versions"])
    assert entry["cpu"]
    assert entry["within_thresholds"] is True
    assert entry["thresholds"]["max_score_difference"] == 1.0
    parity = entry["parity"]
    assert parity["rows"] == 32
    assert parity["throughput_ratio"] > 0
    assert 0.5 < parity["top10_overlap"] <= 1
    assert "ndcg10_change" not in parity


@pytest.mark.parametrize("target", TARGETS)
def test_the_manifest_names_the_runtimes_that_compute_a_graph(all_targets: Path, target: str) -> None:
    """The target's own, and those that it was measured on too, with their figures."""
    manifest = read_manifest(all_targets / "out")
    assert manifest is not None
    entry, form = manifest.graphs[GRAPHS[target]], load_target(target)
    others = ["openvino"] if target == "onnx-int8-static" else []
    assert entry["runtimes"] == [form.backend, *others]
    assert list(entry["parity_on"]) == others
    for figures in entry["parity_on"].values():
        assert set(figures) == set(entry["parity"])
        assert figures["rows"] == 32
        assert figures["max_score_difference"] > 0


FIGURES: Figures = {
    "max_score_difference": 0.1,
    "mean_score_difference": 0.01,
    "score_range": 1.0,
    "kendall_tau": 0.97,
    "top10_overlap": 0.9,
}


def test_a_runtime_that_misses_the_thresholds_is_not_named() -> None:
    """Its figures are told all the same; the target's own is always named, and judged."""
    target, kept = load_target("onnx-int8-static"), Thresholds(0.1, 0.01, 0.9, 0.9, 0.01)
    far = {**FIGURES, "kendall_tau": 0.8}

    def entry(own: Figures, other: Figures) -> dict[str, Any]:
        return graph_entry("onnx-int8-static", target, {"onnx": own, "openvino": other}, kept, "texts", "sigmoid")

    missed = entry(FIGURES, far)
    assert (missed["runtimes"], missed["within_thresholds"]) == (["onnx"], True)
    assert (missed["parity"], missed["parity_on"]) == (FIGURES, {"openvino": far})
    own_missed = entry(far, FIGURES)
    assert (own_missed["runtimes"], own_missed["within_thresholds"]) == (["onnx", "openvino"], False)


def test_runtimes_that_are_not_installed_are_not_measured(
    reranker_dir: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export.installed_runtimes", lambda: ["onnx", "torch"])
    export(reranker_dir, tmp_path / "out", ["onnx-int8-static"], ExportOptions(texts, thresholds=ANYTHING))
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    entry = manifest.graphs[GRAPHS["onnx-int8-static"]]
    assert (entry["runtimes"], entry["parity_on"]) == (["onnx"], {})


@pytest.mark.parametrize("target", TARGETS)
def test_measured_figures_are_those_of_the_published_graph(all_targets: Path, texts: Path, target: str) -> None:
    """Loaded again and scored through the usual way."""
    manifest = read_manifest(all_targets / "out")
    assert manifest is not None
    figures = manifest.graphs[GRAPHS[target]]["parity"]
    pairs, _ = arrange(read_texts(texts).halves()[1], 256)
    expected = CrossEncoder.load(all_targets / "model", backend="torch").predict(pairs)
    difference = np.abs(scores(all_targets / "out", target, pairs, measured=True) - expected)
    assert difference.max() == pytest.approx(figures["max_score_difference"], rel=0.01, abs=1e-6)
    assert difference.mean() == pytest.approx(figures["mean_score_difference"], rel=0.01, abs=1e-6)
    assert (difference.max() > 1e-5) == (target not in ("onnx", "vnni-fp32"))


def test_texts_are_measured_as_long_as_they_are_served_and_calibrate_shorter(
    reranker_dir: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of cut texts would say nothing of what stands behind."""
    widths: list[int] = []
    form = load_target("onnx-int8-static")

    def write(material: Material, path: Path) -> None:
        widths.extend(batch["input_ids"].shape[1] for batch in material.calibration)
        form.write(material, path)

    monkeypatch.setattr("training.export.CALIBRATION_TOKENS", 10)
    monkeypatch.setattr("training.export_targets.onnx_int8_static.TARGET", replace(form, write=write))
    options = ExportOptions(texts, thresholds=ANYTHING)
    figures = export(reranker_dir, tmp_path / "out", ["onnx-int8-static"], options)["onnx-int8-static"]
    assert max(widths) == 10
    pairs, _ = arrange(read_texts(texts).halves()[1], 256)
    expected = CrossEncoder.load(reranker_dir, backend="torch").predict(pairs)
    difference = np.abs(scores(tmp_path / "out", "onnx-int8-static", pairs) - expected)
    assert difference.max() == pytest.approx(figures["max_score_difference"], rel=0.01, abs=1e-6)
    assert difference.mean() == pytest.approx(figures["mean_score_difference"], rel=0.01, abs=1e-6)


@pytest.mark.parametrize("target", ["onnx", "onnx-int8-static"])
def test_static_scores_do_not_depend_on_the_batch(all_targets: Path, target: str) -> None:
    manifest = read_manifest(all_targets / "out")
    assert manifest is not None
    assert manifest.graphs[GRAPHS[target]]["parity"]["batch_dependence"] < 1e-5


def test_one_static_int8_graph_runs_in_both_runtimes(all_targets: Path) -> None:
    """Standard operators only, and the same scores but for the order in which products are added."""
    graph = onnx.load(all_targets / "out" / GRAPHS["onnx-int8-static"])
    assert {node.domain for node in graph.graph.node} == {""}
    chosen = BackendOptions(graph=GRAPHS["onnx-int8-static"])
    rows = [CrossEncoder.load(all_targets / "out", name, chosen).predict(PAIRS) for name in ("onnx", "openvino")]
    assert np.abs(rows[0] - rows[1]).max() < 0.02


def test_openvino_computes_the_products_of_the_static_int8_graph_in_int8(all_targets: Path) -> None:
    """All of them; a pattern that it did not recognise would run in float32."""
    import openvino as ov

    core = ov.Core()
    model = core.compile_model(core.read_model(all_targets / "out" / GRAPHS["onnx-int8-static"]), "CPU")
    kinds = Counter(
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in model.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
    )
    assert kinds["u8"] + kinds["i8"] >= 12, kinds


def test_int8_graphs_hold_embedding_tables_as_int8(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the larger half of a small model."""
    monkeypatch.setattr("training.graphs.tables.LARGE_TABLE", 1000)
    options = ExportOptions(texts, thresholds=ANYTHING)
    export(write_model(tmp_path / "model", hidden_size=64), tmp_path / "out", ["onnx-int8-static"], options)
    graph = onnx.load(tmp_path / "out" / GRAPHS["onnx-int8-static"]).graph
    types = {table.name: table.data_type for table in graph.initializer}
    assert sum(name.endswith("_int8") and kind == onnx.TensorProto.INT8 for name, kind in types.items()) >= 2
    assert CrossEncoder.load(tmp_path / "out").predict(FACTS).shape == (len(FACTS),)


def test_weights_come_along_with_a_float32_graph_only(all_targets: Path, texts: Path, tmp_path: Path) -> None:
    """An int8 artifact is as small as it can be."""
    export(all_targets / "model", tmp_path / "out", ["onnx-int8"], ExportOptions(texts, thresholds=ANYTHING))
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert files == [
        "config.json",
        "onnx/model_quantized.onnx",
        "reranker.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert (all_targets / "out" / "model.safetensors").is_file()


def test_a_graph_over_its_thresholds_is_not_published(reranker_dir: Path, texts: Path, tmp_path: Path) -> None:
    """Nothing is left behind, and the error has the figures."""
    tight = ExportOptions(texts, thresholds={"max_score_difference": 1e-9})
    with pytest.raises(
        ParityError, match=r"model: onnx \(max_\w+ .*\), onnx-int8 \(max_score_difference .* over 1e-09"
    ) as refusal:
        export(reranker_dir, tmp_path / "out", ["onnx", "onnx-int8"], tight)
    assert set(refusal.value.figures) == {"onnx", "onnx-int8"}
    assert not list(tmp_path.iterdir())


def test_the_command_shows_the_table_and_fails(
    reranker_dir: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2; the same with --allow-parity-loss is published, and marked."""
    command = ["export", str(reranker_dir), "--output", str(tmp_path / "out"), "--texts", str(texts)]
    command += ["--target", "onnx-int8", "--min-kendall-tau", "2", "--max-score-difference", "1"]
    assert main(command) == 2
    shown = capsys.readouterr()
    assert "| onnx-int8 | 32 |" in shown.out
    assert "kendall_tau" in shown.err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--allow-parity-loss"]) == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.graphs[GRAPHS["onnx-int8"]]["within_thresholds"] is False


@pytest.mark.parametrize(
    ("bound", "figure"),
    [
        (("--max-score-difference", "-1"), "max_score_difference"),
        (("--max-mean-difference", "-1"), "mean_score_difference"),
        (("--min-kendall-tau", "2"), "kendall_tau"),
        (("--min-top10-overlap", "2"), "top10_overlap"),
        (("--max-ndcg10-loss", "-2"), "ndcg10_change"),
    ],
)
def test_each_bound_of_the_command_is_enforced(
    bound: tuple[str, str],
    figure: str,
    reranker_dir: Path,
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On judged texts; it is the only one that is broken."""
    command = ["export", str(reranker_dir), "--output", str(tmp_path / "out"), "--texts", str(data_root / "facts")]
    assert main([*command, "--split", "train", *bound]) == 2
    error = capsys.readouterr().err
    assert f"model: onnx ({figure} " in error
    assert ";" not in error.partition("(")[2].partition(")")[0]


def test_the_command_reads_the_split_and_as_many_pairs_as_are_asked_for(
    reranker_dir: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the eight queries measure, each with eight documents; without --texts the bundled sample is read."""
    command = ["export", str(reranker_dir), "--texts", str(data_root / "facts"), "--output"]
    assert main([*command, str(tmp_path / "absent")]) == 2
    assert "test.tsv" in capsys.readouterr().err
    rows = {}
    for pairs, texts in (("2", command[2:4]), ("256", command[2:4]), ("40", [])):
        output = tmp_path / f"{pairs}{bool(texts)}"
        given = [*texts, "--split", "train", "--pairs", pairs, "--output", str(output)]
        assert main(["export", str(reranker_dir), *given]) == 0
        manifest = read_manifest(output)
        assert manifest is not None
        entry = manifest.graphs[GRAPHS["onnx"]]
        rows[entry["texts"], pairs] = entry["parity"]["rows"]
    assert rows == {("facts", "2"): 8, ("facts", "256"): 32, ("bundled sample", "40"): 40}


def test_an_interruption_leaves_nothing(reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a graph is measured."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.export.graph_entry", interrupt)
    assert main(["export", str(reranker_dir), "--output", str(tmp_path / "out")]) == 130
    assert not list(tmp_path.iterdir())


def test_too_few_texts_are_refused_and_nothing_is_written(reranker_dir: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "one.jsonl", [{"query": "a", "answer": "b"}])
    with pytest.raises(ConfigError, match="give at least 2"):
        export(reranker_dir, tmp_path / "out", ["onnx"], ExportOptions(tmp_path / "one.jsonl"))
    with pytest.raises(ConfigError, match="1 pairs: give at least 2"):
        export(reranker_dir, tmp_path / "out", ["onnx"], ExportOptions(pairs=1))
    assert not (tmp_path / "out").exists()


def test_an_unknown_target_is_refused_with_the_known_ones(reranker_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'onnx-int4' is unknown; choose one of onnx, onnx-fp16"):
        export(reranker_dir, tmp_path / "out", ["onnx-int4"])


def test_a_target_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("training.export_targets.openvino_int8", "training.graphs.nncf_int8"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigError, match=r"'openvino-int8' needs nncf, .* pip install 'crossrank\[nncf\]'"):
        load_target("openvino-int8")


def test_the_library_s_own_files_come_along(reranker_dir: Path, tmp_path: Path) -> None:
    """sentence-transformers knows an exported directory by them."""
    source = tmp_path / "model"
    write_model(source)
    (source / "config_sentence_transformers.json").write_text(json.dumps({"activation_fn": "torch.nn.Identity"}))
    export(source, tmp_path / "out", ["onnx"], ExportOptions(thresholds={"max_score_difference": 1e-3}))
    assert (tmp_path / "out" / "config_sentence_transformers.json").is_file()


def test_a_model_of_the_hub_is_exported(reranker_dir: Path, tmp_path: Path) -> None:
    """By its id; PyTorch weights are what is downloaded."""
    with FakeHub({"owner/model": reranker_dir}).serve() as fake:
        hub = HubOptions(cache_directory=tmp_path / "cache", endpoint=fake.endpoint)
        export("owner/model", tmp_path / "out", ["onnx"], hub=hub)
        assert "model.safetensors" in fake.files()
    expected = CrossEncoder.load(reranker_dir, backend="torch").predict(FACTS)
    assert np.abs(CrossEncoder.load(tmp_path / "out").predict(FACTS) - expected).max() < 1e-5


LAYOUTS = {
    "onnx/model.onnx": "onnx",
    "model.onnx": "onnx",
    "model_quantized.onnx": "onnx-int8",
    "onnx/model_quantized.onnx": "onnx-int8",
    "onnx/model_qint8_avx512_vnni.onnx": "onnx-int8",
    "openvino/openvino_model.xml": "openvino-bf16",
    "openvino_model.xml": "openvino-bf16",
    "openvino/openvino_model_qint8_quantized.xml": "openvino-int8",
}


@pytest.mark.parametrize("place", LAYOUTS)
def test_graphs_are_found_where_other_exporters_put_them(all_targets: Path, place: str, tmp_path: Path) -> None:
    """Those of optimum and of sentence-transformers, without naming the graph."""
    target = LAYOUTS[place]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(all_targets / "out" / name, tmp_path / name)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    for suffix in (".onnx", ".xml", ".bin"):
        source = (all_targets / "out" / GRAPHS[target]).with_suffix(suffix)
        if source.is_file():
            shutil.copy(source, (tmp_path / place).with_suffix(suffix))
    found = CrossEncoder.load(tmp_path, load_target(target).backend).predict(PAIRS)
    assert np.array_equal(found, scores(all_targets / "out", target))
