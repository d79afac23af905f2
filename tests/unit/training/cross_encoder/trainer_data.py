"""Models, data and arguments that the tests of the trainer share."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from tests.models import TEXT, write_model
from training.cross_encoder import CrossEncoder, CrossEncoderTrainingArguments

WORDS = TEXT.split()


def exact_model_dir(directory: Path, **kwargs: Any) -> Path:
    """A tiny model without dropout: what it computes depends on weights and data alone."""
    write_model(directory, **kwargs)
    config = json.loads((directory / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def text(draw: random.Random, longest: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, longest)))


def pairs(rows: int, seed: int = 0, labels: int = 2) -> Dataset:
    """Two texts and a label from 0 to labels - 1 (floats for two)."""
    draw = random.Random(seed)
    label = [draw.randrange(labels) for _ in range(rows)]
    return Dataset.from_dict(
        {
            "query": [text(draw, 5) for _ in range(rows)],
            "document": [f"{i} {text(draw, 20)}" for i in range(rows)],
            "label": [float(one) for one in label] if labels == 2 else label,
        }
    )


def lists(rows: int, seed: int = 0, longest: int = 4) -> Dataset:
    """A text, a list of texts and as many labels."""
    draw = random.Random(seed)
    sizes = [draw.randint(2, longest) for _ in range(rows)]
    return Dataset.from_dict(
        {
            "query": [text(draw, 5) for _ in sizes],
            "documents": [[text(draw, 12) for _ in range(size)] for size in sizes],
            "labels": [[float(draw.randrange(4)) for _ in range(size)] for size in sizes],
        }
    )


def arguments(directory: Path, **kwargs: Any) -> CrossEncoderTrainingArguments:
    """Arguments of a short, silent run on the CPU."""
    return CrossEncoderTrainingArguments(output_dir=str(directory), **quiet(kwargs))


def quiet(kwargs: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "learning_rate": 1e-3,
        "adam_epsilon": 1e-3,  # parameters without gradient must not follow rounding errors
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    return {**defaults, **kwargs}


def weights(model: CrossEncoder) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.model.state_dict().items()}


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def identical(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
