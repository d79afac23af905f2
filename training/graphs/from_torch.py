"""From a PyTorch classifier to a plain ONNX graph."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from app.model.artifact import Artifact
from training.graphs.first_token import cut_last_layer

OPSET = 17
"""The first with LayerNormalization as one operator; older ONNX Runtimes and OpenVINO know it, too."""


class _Logits(torch.nn.Module):
    """Positional inputs, one tensor out: what the exporter needs."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def traceable(artifact: Artifact) -> Any:
    """The model in float32, as an exporter is to see it."""
    # Eager attention leaves the plain pattern that optimisers look for; they replace it by operators of their own.
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        artifact.directory, dtype=torch.float32, local_files_only=True, attn_implementation="eager"
    )
    cut_last_layer(model.eval())
    return model


def write_graph(artifact: Artifact, target: Path) -> None:
    """Writes a float32 graph of standard operators with the model's inputs, dynamic rows and tokens, and `logits`."""
    model = traceable(artifact)
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if artifact.segments else [])
    axes = {name: {0: "rows", 1: "tokens"} for name in names} | {"logits": {0: "rows"}}
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
    with warnings.catch_warnings():
        # The newer exporter's graph keeps 48 unfused matrix products here, so the older one is used on purpose.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(model, names),
            example,
            str(target),
            input_names=names,
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
