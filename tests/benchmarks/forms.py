"""The forms in which one trained model can be scored, exported once and loaded side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openvino

from app.model.backends import BackendOptions, Precision
from app.model.cross_encoder import CrossEncoder
from training.export import ExportOptions, export
from training.export_targets import load_target


@dataclass(frozen=True, slots=True)
class Form:
    """One way to run the model: `target` is the exported graph, None the PyTorch weights themselves."""

    name: str
    target: str | None
    backend: str
    precision: Precision = "fp32"
    kind: str = "fp32"
    """What is promised of its scores: fp32 (1e-5), lossless (1e-3) or int8."""

    def load(self, reference: Path, exported: Path) -> CrossEncoder:
        """The loaded form."""
        if self.target is None:
            return CrossEncoder.load(reference, self.backend, BackendOptions(precision=self.precision))
        return CrossEncoder.load(exported, self.backend, self.options)

    @property
    def options(self) -> BackendOptions:
        """How its backend is to load it."""
        graph = "" if self.target is None else load_target(self.target).graph
        return BackendOptions(graph=graph, precision=self.precision)

    @property
    def flags(self) -> list[str]:
        """The same for the service's command line."""
        return ["--backend", self.backend, "--graph", self.options.graph, "--precision", self.precision]


FORMS = (
    Form("torch fp32", None, "torch"),
    Form("onnx fp32", "onnx", "onnx"),
    Form("openvino fp32", "onnx", "openvino"),
    Form("openvino bf16", "openvino-bf16", "openvino", "bf16", "lossless"),
    Form("onnx int8 dynamic", "onnx-int8", "onnx", kind="int8"),
    Form("onnx int8", "onnx-int8-static", "onnx", kind="int8"),
    Form("openvino int8", "openvino-int8", "openvino", kind="int8"),
    Form("openvino int8 + bf16", "openvino-int8", "openvino", "bf16", "int8"),
)


def prepare(reference: Path, out: Path) -> Path:
    """The directory with every exported graph; what an earlier run left is used again."""
    exported = out / "exported"
    if not exported.exists():
        targets = list(dict.fromkeys(form.target for form in FORMS if form.target))
        export(reference, exported, targets, ExportOptions(allow_parity_loss=True))
    return exported


def runnable() -> Iterator[Form]:
    """The forms that this machine's processor can compute."""
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return (form for form in FORMS if form.precision != "bf16" or "BF16" in capabilities)
