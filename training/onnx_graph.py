"""From a PyTorch classifier to an ONNX graph with fused transformer operators."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from app.model.artifact import Artifact

OPSET = 17
FUSABLE = {"bert", "roberta", "xlm-roberta", "camembert", "electra"}
"""Model types whose attention ONNX Runtime's optimiser recognises; others keep the plain graph."""


class _Logits(torch.nn.Module):
    """Positional inputs, one tensor out: what the exporter needs."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def export_graph(artifact: Artifact, target: Path) -> None:
    """Writes a float32 graph with inputs as the model takes them, dynamic rows and tokens, and output `logits`."""
    # Eager attention leaves the plain pattern that the fusion looks for; the fused operator replaces it.
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        artifact.directory, dtype=torch.float32, local_files_only=True, attn_implementation="eager"
    )
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if artifact.segments else [])
    axes = {name: {0: "rows", 1: "tokens"} for name in names} | {"logits": {0: "rows"}}
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
    with warnings.catch_warnings():
        # The newer exporter's graph keeps 48 unfused matrix products here, so the older one is used on purpose.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(model.eval(), names),
            example,
            str(target),
            input_names=names,
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    if artifact.config.get("model_type") in FUSABLE:
        _fuse(target, artifact.config)


def _fuse(path: Path, config: dict[str, Any]) -> None:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # its operator hides the table from quantisation
    options.use_multi_head_attention = True  # unlike Attention it leaves the projections visible as MatMul
    graph = optimize_model(
        str(path),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        optimization_options=options,
        opt_level=0,
    )
    graph.save_model_to_file(str(path))
