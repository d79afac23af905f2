"""The forms in which one trained model can be scored, exported once."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from app.model.backends import BackendOptions, Precision
from app.model.cpus import cpu_model
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import read_manifest
from app.model.placement import VNNI

PEER = "sentence-transformers"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Form:
    """One way to run the model: `target` is the exported graph, None the PyTorch weights themselves."""

    name: str
    target: str | None
    backend: str
    precision: Precision = "fp32"
    kind: str = "fp32"
    """Its arithmetic, which says what is promised of its scores: fp32 1e-5, int16 1e-3, bf16 0.05, int8 nothing."""

    def directory(self, reference: Path, exported: Path) -> Path:
        """Where it is loaded from."""
        return reference if self.target is None else exported

    def load(self, reference: Path, exported: Path) -> CrossEncoder:
        """The loaded form."""
        options = BackendOptions(graph=self.graph(exported), precision=self.precision)
        return CrossEncoder.load(self.directory(reference, exported), self.backend, options)

    def flags(self, exported: Path) -> list[str]:
        """The same for the service's command line."""
        return ["--backend", self.backend, "--graph", self.graph(exported), "--precision", self.precision]

    def graph(self, exported: Path) -> str:
        """Its graph's place among the exported ones, empty for the weights themselves."""
        return "" if self.target is None else _graphs(exported)[self.target]


FORMS = (
    Form("torch fp32", None, "torch"),
    Form("torch bf16", None, "torch", "bf16", "bf16"),
    Form("onnx fp32", "onnx", "onnx"),
    Form("openvino fp32", "onnx", "openvino"),
    Form("openvino bf16", "openvino-bf16", "openvino", "bf16", "bf16"),
    Form("onnx int8 dynamic", "onnx-int8", "onnx", kind="int8"),
    Form("onnx int8 QDQ", "onnx-int8-static", "onnx", kind="int8"),
    Form("openvino int8 QDQ", "onnx-int8-static", "openvino", kind="int8"),
    Form("openvino int8 NNCF", "openvino-int8", "openvino", kind="int8"),
    Form("openvino int8 NNCF + bf16", "openvino-int8", "openvino", "bf16", "int8"),
    Form("vnni fp32", "vnni-fp32", "vnni"),
    Form("vnni int16", "vnni-int16", "vnni", kind="int16"),
    Form("vnni int8", "vnni-int8", "vnni", kind="int8"),
)


def runnable() -> list[Form]:
    """The forms that this machine's processor can compute."""
    return [form for form in FORMS if _computed_here(form)]


def _computed_here(form: Form) -> bool:
    return has_vnni() if form.backend == "vnni" else form.precision != "bf16" or has_bf16()


def has_vnni() -> bool:
    """Whether the processor multiplies and adds small integers in one instruction."""
    return VNNI in cpu_model().split()


def has_bf16() -> bool:
    """Whether the processor has bf16 arithmetic; emulated, it is slower than float32."""
    return any("bf16" in word for word in cpu_model().split())


def prepare(reference: Path, out: Path) -> Path:
    """The directory with every exported graph; those that an earlier run made of the same weights are used again."""
    exported = out / "exported"
    targets = list(dict.fromkeys(form.target for form in runnable() if form.target))
    if not _has(exported, reference, targets):
        shutil.rmtree(exported, ignore_errors=True)
        command = [sys.executable, "-m", "training", "export", str(reference), "--output", str(exported)]
        subprocess.run([*command, "--allow-parity-loss", "--target", *targets], check=True)
    return exported


def _has(exported: Path, reference: Path, targets: list[str]) -> bool:
    weights = [directory / WEIGHTS for directory in (exported, reference)]
    if not all(path.is_file() for path in weights) or not set(targets) <= set(_graphs(exported)):
        return False
    return filecmp.cmp(*weights, shallow=False)


def _graphs(exported: Path) -> dict[str, str]:
    """Graphs by target, as the manifest has them."""
    manifest = read_manifest(exported)
    return {} if manifest is None else {entry["target"]: graph for graph, entry in manifest.graphs.items()}
