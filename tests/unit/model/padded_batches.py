"""Padded batches of random rows for the models of `forward_models`, and their scores."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from app.model.backends.torch_devices import Device
from app.model.backends.torch_passes import Pass
from app.model.types import Batch, Encoded, FloatArray
from tests.unit.training.cross_encoder.forward_models import padding_of
from training.cross_encoder.encoding import Padding
from training.cross_encoder.padded import pad_rows

LENGTHS = [5, 61, 7, 33, 61, 3, 24, 90, 12, 61, 24]


def batch_of(model: PreTrainedModel, rows: list[Encoded], *, left: bool = False) -> Batch:
    """As the tokenizer of `app.model` pads, or on the left."""
    padding = Padding(padding_of(model).pad_id, segments=True, side="left" if left else "right")
    return {name: tensor.numpy() for name, tensor in pad_rows(rows, padding).items()}


def segments(model: PreTrainedModel) -> bool:
    """Whether the model is given token types."""
    return padding_of(model).segments


@torch.inference_mode()
def score(way: Pass, batch: Batch, device: Device) -> FloatArray:
    """Logits in the order of the batch."""
    work = way.stage(batch)
    return work.in_order(device.run(device.upload(work.inputs), work.score))
