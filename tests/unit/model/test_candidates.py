"""Which runtimes, graphs and arithmetic may compete: never a lossier one than asked for."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.backends import BackendOptions
from app.model.candidates import candidates, default_graph, precision_of
from app.model.parity import ParityPolicy

FP32, INT8, IR = "onnx/model.onnx", "onnx/model_int8.onnx", "openvino/openvino_model.xml"
BOTH = ("onnx", "openvino")
LOSSLESS = {"max_score_difference": 5e-4, "kendall_tau": 0.9995}
LOSSY = {"max_score_difference": 0.05, "kendall_tau": 0.97}


def compete(
    *names: str,
    graphs: dict[str, Any] | None = None,
    runtimes: tuple[str, ...] = BOTH,
    bf16: bool = False,
    policy: ParityPolicy | None = None,
    **options: Any,
) -> list[str]:
    found = candidates(names, graphs or {}, BackendOptions(**options), policy or ParityPolicy(), runtimes, bf16)
    return [" ".join(candidate) for candidate in found]


def test_a_float_graph_is_read_by_every_installed_runtime() -> None:
    """The default first, so that it wins a draw."""
    assert compete(FP32) == [f"onnx {FP32} fp32", f"openvino {FP32} fp32"]
    assert compete(FP32, runtimes=("openvino",)) == [f"openvino {FP32} fp32"]
    assert compete(FP32, runtimes=("torch",)) == []


def test_int8_does_not_compete_with_a_float_default() -> None:
    assert not any("int8" in name for name in compete(FP32, INT8, bf16=True))
    assert f"onnx {INT8} fp32" in compete(FP32, INT8, precision="int8")


def test_int8_is_served_where_it_is_all_there_is_by_the_runtime_it_was_measured_with() -> None:
    """Another rounds otherwise, unless the manifest vouches for it."""
    assert compete(INT8) == [f"onnx {INT8} fp32"]
    vouched = {INT8: {"precision": "int8", "parity": LOSSY, "runtimes": ["onnx", "openvino"]}}
    assert compete(INT8, graphs=vouched) == [f"onnx {INT8} fp32", f"openvino {INT8} fp32"]
    assert compete(INT8, runtimes=("openvino",)) == [f"openvino {INT8} fp32"], "better than nothing"


def test_bf16_needs_the_cpu_and_leave() -> None:
    assert compete(FP32, bf16=True) == [f"onnx {FP32} fp32", f"openvino {FP32} fp32"]
    assert f"openvino {FP32} bf16" in compete(FP32, bf16=True, precision="bf16")
    assert f"openvino {FP32} bf16" not in compete(FP32, bf16=False, precision="bf16")


def test_a_lossy_graph_that_is_proven_lossless_competes() -> None:
    """bf16 that passes its parity is as good as float32; in less than bf16 it has proven nothing."""
    graph = {IR: {"precision": "bf16", "parity": LOSSLESS}}
    assert f"openvino {IR} bf16" in compete(FP32, IR, graphs=graph, bf16=True)
    assert f"openvino {IR} bf16" not in compete(FP32, IR, graphs={IR: {**graph[IR], "parity": LOSSY}}, bf16=True)
    assert f"openvino {FP32} bf16" not in compete(
        FP32, graphs={FP32: {"precision": "fp32", "parity": LOSSLESS}}, bf16=True
    )


def test_fixed_point_competes_where_it_is_proven_lossless() -> None:
    """16 bits come that close on a sound model; 8 bits have to be asked for. An artifact may hold nothing else."""
    wide, narrow = "vnni/model_int16.vnni", "vnni/model_int8.vnni"
    runtimes = (*BOTH, "vnni")
    graphs = {wide: {"precision": "int16", "parity": LOSSLESS}, narrow: {"precision": "int8", "parity": LOSSY}}
    assert compete(FP32, wide, narrow, graphs=graphs, runtimes=runtimes)[-1] == f"vnni {wide} fp32"
    assert f"vnni {narrow} fp32" in compete(FP32, narrow, graphs=graphs, runtimes=runtimes, precision="int8")
    lossy = {wide: {"precision": "int16", "parity": LOSSY}}
    assert not any("vnni" in name for name in compete(FP32, wide, graphs=lossy, runtimes=runtimes))
    assert not any("vnni" in name for name in compete(FP32, wide, graphs=graphs, runtimes=BOTH))
    assert compete(wide, narrow, graphs=graphs, runtimes=runtimes) == [f"vnni {wide} fp32"]


def test_parity_is_proven_for_the_runtime_that_would_serve() -> None:
    """A graph that ONNX Runtime scores faithfully may be rounded otherwise by OpenVINO."""
    entry = {"precision": "bf16", "parity": LOSSY, "parity_on": {"onnx": LOSSLESS}, "runtimes": ["openvino", "onnx"]}
    found = compete(FP32, "onnx/other.onnx", graphs={"onnx/other.onnx": entry})
    assert "onnx onnx/other.onnx fp32" in found
    assert "openvino onnx/other.onnx fp32" not in found
    missed = {FP32: {"parity": LOSSLESS, "parity_on": {"openvino": LOSSY}, "runtimes": ["onnx"]}}
    assert compete(FP32, graphs=missed) == [f"onnx {FP32} fp32"]


def test_leave_for_16_bits_of_fixed_point_is_none_for_bf16() -> None:
    """Which keeps eight of them."""
    wide, graphs = "vnni/model_int16.vnni", {"vnni/model_int16.vnni": {"precision": "int16", "parity": LOSSY}}
    found = compete(FP32, wide, graphs=graphs, runtimes=(*BOTH, "vnni"), bf16=True, precision="int16")
    assert f"vnni {wide} fp32" in found
    assert not any(name.endswith("bf16") for name in found)


def test_parity_is_proven_for_the_arithmetic_of_its_measurement() -> None:
    """Measured on a CPU without bf16, a bf16 graph has shown nothing of bf16."""
    graph = {IR: {"precision": "bf16", "arithmetic": "fp32", "parity": LOSSLESS}}
    found = compete(FP32, IR, graphs=graph, bf16=True)
    assert f"openvino {IR} fp32" in found
    assert f"openvino {IR} bf16" not in found


def test_only_the_graph_that_is_asked_for_competes() -> None:
    assert compete(FP32, INT8, graph=INT8) == [f"onnx {INT8} fp32"]
    assert compete(FP32, graph="onnx/none.onnx") == []


def test_graphs_of_unknown_precision_do_not_compete() -> None:
    """sentence-transformers' O4 is fp16 under a name that does not say so."""
    assert compete(FP32, "onnx/model_O4.onnx", "onnx/model_fp16.onnx", runtimes=("onnx",), precision="fp16") == [
        f"onnx {FP32} fp32"
    ]
    known = {"onnx/model_fp16.onnx": {"precision": "fp16"}, "onnx/own.onnx": {"precision": "fp32"}}
    assert (
        compete(FP32, "onnx/own.onnx", *known, graphs=known, runtimes=("onnx",), precision="fp16")[1:]
        == ["onnx onnx/own.onnx fp32"] * 2
    )


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("warn", [f"onnx {FP32} fp32", f"onnx {INT8} fp32"]),
        ("refuse", [f"onnx {INT8} fp32"]),
        ("ignore", [f"onnx {FP32} fp32", f"onnx {INT8} fp32"]),
    ],
)
def test_a_refused_default_leaves_the_field_to_the_others(action: Any, expected: list[str]) -> None:
    graphs = {FP32: {"precision": "fp32", "within_thresholds": False}}
    policy = ParityPolicy(action)
    assert compete(FP32, INT8, graphs=graphs, policy=policy, precision="int8", runtimes=("onnx",)) == expected


def test_an_unfaithful_graph_does_not_replace_a_default() -> None:
    graphs = {INT8: {"precision": "int8", "within_thresholds": False}}
    assert compete(FP32, INT8, graphs=graphs, precision="int8", runtimes=("onnx",)) == [f"onnx {FP32} fp32"]
    assert f"onnx {INT8} fp32" in compete(
        FP32, INT8, graphs=graphs, precision="int8", runtimes=("onnx",), policy=ParityPolicy("ignore")
    )


def test_the_default_form_is_full_precision_where_there_is_any() -> None:
    assert default_graph([INT8, FP32, IR]) == FP32
    assert default_graph([IR]) == IR
    assert default_graph(["model.safetensors"]) == ""


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        (FP32, "fp32"),
        (INT8, "int8"),
        ("onnx/model_qint8_avx512.onnx", "int8"),
        ("model_quantized.onnx", "int8"),
        ("onnx/model_fp16.onnx", "fp16"),
        ("openvino/model_bf16.xml", "bf16"),
    ],
)
def test_precision_by_name_unless_the_manifest_says_otherwise(name: str, precision: str) -> None:
    assert precision_of(name, {}) == precision
    assert precision_of(name, {name: {"precision": "bf16"}}) == "bf16"
    assert precision_of(name, {name: {"precision": "float"}}) == precision
