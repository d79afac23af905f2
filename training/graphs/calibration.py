"""Ranges of the activations that enter matrix products, measured on real inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper
from tqdm import tqdm

from app.model.types import Batch


@dataclass(frozen=True, slots=True)
class Range:
    """Extent of a tensor's values per channel of its last axis: two arrays of shape (channels,)."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def divided(self, factors: NDArray[np.float32]) -> tuple[float, float]:
        """(low, high) over all channels after division by `factors`; zero is inside, so that it stays exact."""
        return min(0.0, float((self.low / factors).min())), max(0.0, float((self.high / factors).max()))


def activation_ranges(model: onnx.ModelProto, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, Range]:
    """The range of each tensor in `names` over `batches`."""
    ranges: dict[str, Range] = {}
    for name, channels in activations(model, names, batches, "calibrate"):
        seen = ranges.get(name, Range(channels[0], channels[0]))
        ranges[name] = Range(np.minimum(seen.low, channels.min(axis=0)), np.maximum(seen.high, channels.max(axis=0)))
    return ranges


def activations(
    model: onnx.ModelProto, names: Sequence[str], batches: Sequence[Batch], task: str
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(name, values of shape (tokens, channels)) of each tensor in `names`, batch by batch. `task` heads the bar."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = [node.name for node in session.get_inputs()]
    for batch in tqdm(batches, desc=task, unit="text"):
        for name, value in zip(names, session.run(list(names), {key: batch[key] for key in inputs}), strict=True):
            yield name, value.reshape(-1, value.shape[-1])
