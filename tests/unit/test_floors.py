"""The architecture: who may import whom, and what serving must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = [
    ["app.errors"],
    [
        *("app.model.types", "app.model.messages", "app.model.activations", "app.model.cpus", "app.model.gpus"),
        *(
            "app.model.bucketing",
            "app.model.streams",
            "app.model.manifest",
            "app.config",
            "app.metrics",
            "app.logs",
            "app.lifecycle",
        ),
        *("app.batching.fairness", "app.batching.guess", "app.batching.rate", "app.model.measuring"),
        *("app.model.packed.layout", "app.model.packed.weights", "app.model.packed.rotary", "app.model.packed.dropout"),
        *("app.model.packed.network", "app.model.packed.first_token", "app.model.packed.fused_attention"),
        *("app.model.packed.gpu_attention", "app.model.packed.grid_attention", "app.model.packed.onednn"),
        *("app.model.packed.buckets", "app.model.packed.flat", "app.model.packed.cores"),
        *("app.model.compiled", "app.model.vnni.rows", "app.model.vnni.team"),
        *("app.model.vnni.tile_size", "app.model.vnni.tiles", "app.model.vnni.spreading"),
    ],
    [
        *("app.model.artifact", "app.model.parity", "app.model.tuning_cache", "app.model.backends"),
        *("app.score_cache", "app.batching.queue", "app.model.packed.bert", "app.model.packed.modernbert"),
        *("app.model.vnni.kernels", "app.model.vnni.weights", "app.model.vnni.network", "app.model.vnni.attention"),
        *("app.model.vnni.first_layer", "app.model.vnni.gelu"),
    ],
    ["app.model.tokenizer", "app.model.hub", "app.model.backends.", "app.batching.scoring", "app.model.packed.select"],
    ["app.model.cross_encoder", "app.model.candidates", "app.batching.batcher"],
    ["app.model.contest", "app.model.placement", "app.model.batch_budget", "app.service"],
    ["app.model.tuning"],
    ["app.registry"],
    ["app.api."],
    ["app.main"],
    ["app.__main__"],
]
WITHIN = {
    "app.model.artifact",
    "app.model.contest",
    "app.model.types",
    "app.model.bucketing",
    "app.model.backends.graphs",
    "app.api.record",
    "app.api.errors",
}
WITHIN |= {"app.model.backends.vnni_compiling"}
WITHIN |= {"app.model.backends.failures", "app.api.exchange", "app.api.schemas"}
WITHIN |= {"app.model.packed.layout", "app.model.packed.dropout", "app.model.packed.buckets", "app.model.packed.select"}
WITHIN |= {"app.model.packed.onednn", "app.model.packed.weights"}
WITHIN |= {"app.model.backends.torch_devices", "app.model.backends.torch_passes", "app.model.backends.cuda_graphs"}
WITHIN |= {"app.model.cpus", "app.model.vnni.tile_size", "app.model.vnni.tiles"}
WITHIN |= {"app.model.vnni.attention", "app.model.vnni.kernels", "app.model.vnni.weights"}
WITHIN |= {"app.model.vnni.first_layer", "app.model.vnni.gelu"}
"""Modules that others of their own floor build on."""


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> set[str]:
    """Project modules that a file imports, at whatever depth of the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("app", "training")}


def floor(module: str) -> int:
    """The longest matching entry decides; a trailing dot stands for everything below a package."""
    matches = [
        (len(entry), level)
        for level, entries in enumerate(FLOORS)
        for entry in entries
        if module == entry or (entry.endswith(".") and module.startswith(entry))
    ]
    assert matches, f"{module} has no floor: give it one"
    return max(matches)[1]


KNOWN = {name for name, _ in [*modules("app"), *modules("training")]}
PACKAGES = {"app", "app.model", "app.model.packed", "app.model.vnni", "app.batching", "app.api"}


@pytest.mark.parametrize(("module", "path"), [m for m in modules("app") if m[0] not in PACKAGES])
def test_a_module_imports_only_from_lower_floors(module: str, path: Path) -> None:
    for other in imports(path) & KNOWN - PACKAGES - {module}:
        assert floor(other) < floor(module) or (floor(other) == floor(module) and other in WITHIN), (
            f"{module} imports {other}, which is not below it"
        )


@pytest.mark.parametrize(("module", "path"), list(modules("training")))
def test_training_imports_only_errors_and_the_inference_library(module: str, path: Path) -> None:
    for other in imports(path) & KNOWN:
        allowed = other.startswith(("training", "app.model")) or other in ("app", "app.errors")
        assert allowed, f"{module} imports {other}"


@pytest.mark.parametrize(("module", "path"), list(modules("app")))
def test_the_service_never_imports_training(module: str, path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] == "training"}


def test_serving_loads_no_training_stack() -> None:
    """In a process of its own, with the default backend imported as well."""
    heavy = {
        "torch",
        "transformers",
        "datasets",
        "accelerate",
        "training",
        "matplotlib",
        "sentence_transformers",
        "numba",
    }
    code = "import sys, app.main, app.__main__, app.model.backends.onnx; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not heavy & {name.split(".")[0] for name in result.stdout.split()}
