"""What a manifest says about an exported graph."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from app.model.cpus import cpu_model
from training.export_targets import Target
from training.parity import Figures
from training.parity_thresholds import Thresholds

PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "optimum", "openvino", "nncf", "numba")
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "vnni": "numba"}


def graph_entry(
    name: str,
    target: Target,
    figures: Mapping[str, Figures],
    thresholds: Thresholds,
    texts: str,
    activation: str,
    exporter: str = "torch",
) -> dict[str, Any]:
    """The entry for a graph, of `figures` by backend, the target's own first.

    `exporter` wrote the plain graph that forms for ONNX Runtime and OpenVINO are made of. `arithmetic` and `cpu` are
    those of the measurement, `texts` what it was made on. `runtimes` are the backends on which it keeps its
    thresholds, `parity_on` the figures of those beside the target's own.
    """
    versions = package_versions()
    exceeded = {backend: thresholds.exceeded(figures[backend], activation) for backend in figures}
    runtime = RUNTIMES[target.backend]
    return {
        "target": name,
        "precision": target.precision,
        "made_with": f"{runtime} {versions[runtime]}",
        "exporter": exporter,
        "versions": versions,
        "cpu": cpu_model(),
        "texts": texts,
        "arithmetic": target.arithmetic,
        "parity": figures[target.backend],
        "parity_on": {backend: figures[backend] for backend in figures if backend != target.backend},
        "runtimes": [backend for backend in figures if backend == target.backend or not exceeded[backend]],
        "thresholds": thresholds.as_dict(),
        "within_thresholds": not exceeded[target.backend],
    }


def figures_of(graphs: Mapping[str, Mapping[str, Any]]) -> dict[str, Figures]:
    """Parity figures by target, out of a manifest's entries."""
    return {entry["target"]: entry["parity"] for entry in graphs.values()}


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that took part, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
