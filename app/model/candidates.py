"""Which runtime, graph and arithmetic may compete to serve a model on a CPU. Pure: no runtime is imported."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from app.model.backends import BackendOptions, Precision
from app.model.backends.graphs import ONNX_GRAPHS, OPENVINO_GRAPHS, VNNI_GRAPHS, choose_graph
from app.model.parity import ParityPolicy, faults, is_lossless

RUNTIMES = {"onnx": (".onnx",), "openvino": (".xml", ".onnx"), "vnni": (".vnni",)}
"""Backends that compete, with the graphs that they read; the first wins a draw."""
LOSS: dict[Precision, int] = {"fp32": 0, "int16": 1, "bf16": 2, "fp16": 2, "int8": 3}
NAMED: dict[Precision, re.Pattern[str]] = {
    "int8": re.compile("int8|quant"),
    "int16": re.compile("int16"),
    "bf16": re.compile("bf16"),
    "fp16": re.compile("fp16|float16"),
}


class Candidate(NamedTuple):
    """One way to serve a model. `precision` is the arithmetic of the runtime; quantised graphs carry their own."""

    backend: str
    graph: str
    precision: Precision


def candidates(
    names: Sequence[str],
    graphs: Mapping[str, Mapping[str, Any]],
    options: BackendOptions,
    policy: ParityPolicy,
    runtimes: Collection[str],
    bf16: bool,
) -> list[Candidate]:
    """The ways to serve an artifact of files `names` and manifest entries `graphs`, its default form first.

    None loses more precision than the default form does, than `options.precision` allows or, by the manifest's
    parity, than nobody can tell from the reference. `bf16`: whether the CPU has such arithmetic.
    """
    default = default_graph(names, options.graph)
    if not default:
        return []
    allowed = max(LOSS[options.precision], LOSS[precision_of(default, graphs)])
    pool = [default, *(name for name in others(names, graphs, options) if name != default)]
    known = [
        Candidate(backend, name, precision)
        for name in pool
        for backend in _runtimes_of(name, graphs, runtimes)
        for precision in _arithmetic(backend, bf16)
    ]
    faithful = [each for each in known if not faults(graphs.get(each.graph, {}), policy, each.backend)]
    if default not in {each.graph for each in faithful} and (policy.action == "warn" or not faithful):
        faithful = [*(each for each in known if each.graph == default), *faithful]
    return [each for each in faithful if _loss(each, graphs) <= allowed]


def default_graph(names: Sequence[str], wanted: str = "") -> str:
    """The form in which an artifact is served when nothing is measured; empty if it holds no graph."""
    formats = (ONNX_GRAPHS, OPENVINO_GRAPHS, VNNI_GRAPHS)
    return next(filter(None, (choose_graph(names, preferred, wanted) for preferred in formats)), "")


def others(names: Sequence[str], graphs: Mapping[str, Any], options: BackendOptions) -> list[str]:
    """Graphs whose precision is known, by the manifest or by their usual name; none where one was asked for."""
    if options.graph:
        return []
    known = {*OPENVINO_GRAPHS, *VNNI_GRAPHS, *(name for name in graphs if graphs[name].get("precision") in LOSS)}
    # A CPU converts every number of an fp16 graph: never faster.
    return [name for name in names if name in known and precision_of(name, graphs) != "fp16"]


def precision_of(name: str, graphs: Mapping[str, Mapping[str, Any]]) -> Precision:
    """The precision of a graph: by the manifest, else by its name."""
    declared = graphs.get(name, {}).get("precision")
    if declared in LOSS:
        return declared  # type: ignore[no-any-return]
    return next((precision for precision, pattern in NAMED.items() if pattern.search(name)), "fp32")


def _runtimes_of(name: str, graphs: Mapping[str, Mapping[str, Any]], runtimes: Collection[str]) -> Collection[str]:
    """The runtimes that read a graph. A quantised one is rounded differently by each: its parity holds for those
    named in its manifest entry, or else for the one of its format; others take it only where that is not installed.
    """
    readers = [backend for backend, suffixes in RUNTIMES.items() if backend in runtimes and name.endswith(suffixes)]
    if precision_of(name, graphs) != "int8":
        return readers
    measured = graphs.get(name, {}).get("runtimes") or ["onnx" if name.endswith(".onnx") else "openvino"]
    return [backend for backend in readers if backend in measured] or readers


def _arithmetic(backend: str, bf16: bool) -> tuple[Precision, ...]:
    return ("fp32", "bf16") if backend == "openvino" and bf16 else ("fp32",)


def _loss(candidate: Candidate, graphs: Mapping[str, Mapping[str, Any]]) -> int:
    """How much is lost: 0 where the manifest shows that it cannot be told from the reference."""
    own = precision_of(candidate.graph, graphs)
    entry = graphs.get(candidate.graph, {})
    known = LOSS.get(entry.get("arithmetic", own), 0)
    if is_lossless(entry, candidate.backend) and LOSS[candidate.precision] <= known:
        return 0
    return max(LOSS[own], LOSS[candidate.precision])
