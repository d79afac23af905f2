"""Int8 matrix products whose activation scales are fixed beforehand, so that no row's score depends on its batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.model.types import Batch
from training.calibration import Range, activation_ranges
from training.graph_edit import drop_unused, int8_codes, replace_nodes

MICROSOFT = "com.microsoft"
SMOOTHING = 0.75
"""Chosen by measurement: see LOG.md."""


def static(source: Path, target: Path, calibration: Sequence[Batch], smoothing: float = SMOOTHING) -> None:
    """Rewrites every product with a constant matrix as rounding followed by an int8 product in float32 out.

    Weights are int8 per output channel, activations uint8 per tensor. Before rounding, activations are divided
    and weights multiplied by a factor per channel, which evens out channels with extreme values:
    largest activation ** smoothing / largest weight ** (1 - smoothing) (SmoothQuant, Xiao et al., 2023).
    """
    # Written out here: ONNX Runtime's own static quantiser skips every input that a fused operator produces.
    model = onnx.load(str(source))
    stored = {entry.name: entry for entry in model.graph.initializer if len(entry.dims) == 2}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in stored]
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in products:
        readers.setdefault(node.input[0], []).append(node)
    ranges = activation_ranges(model, list(readers), calibration)
    replacements: dict[str, list[onnx.NodeProto]] = {}
    for activation, nodes in readers.items():
        weights = [numpy_helper.to_array(stored[node.input[1]]) for node in nodes]
        factors = smoothing_factors(ranges[activation], weights, smoothing)
        rounding = _round_activation(activation, ranges[activation], factors, model.graph.initializer)
        for node, weight in zip(nodes, weights, strict=True):
            _store_weight(node.output[0], weight * factors[:, None], model.graph.initializer)
            # The first product brings the rounding of its input along, the others share it.
            replacements[node.output[0]] = [*rounding, _int8_product(node)]
            rounding = []
    replace_nodes(model, [new for node in model.graph.node for new in replacements.get(node.output[0], [node])])
    drop_unused(model)
    if not any(entry.domain == MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    onnx.save(model, str(target))


def smoothing_factors(extent: Range, weights: Sequence[NDArray[np.float32]], smoothing: float) -> NDArray[np.float32]:
    """One divisor per input channel, shape (channels,), for an activation that all of `weights` multiply."""
    activation = np.maximum(np.abs(extent.low), np.abs(extent.high)).clip(1e-5)
    weight = np.max([np.abs(matrix).max(axis=1) for matrix in weights], axis=0).clip(1e-5)
    return np.asarray(activation**smoothing / weight ** (1 - smoothing), dtype=np.float32)


def _round_activation(
    name: str, extent: Range, factors: NDArray[np.float32], initializers: Any
) -> list[onnx.NodeProto]:
    low, high = extent.divided(factors)
    scale = max(high - low, 1e-12) / 255
    constants: dict[str, NDArray[Any]] = {
        "inverse": 1 / factors,
        "scale": np.array(scale, dtype=np.float32),
        "zero": np.array(round(-low / scale), dtype=np.uint8),
    }
    initializers.extend(numpy_helper.from_array(value, f"{name}_{key}") for key, value in constants.items())
    even, codes = f"{name}_even", f"{name}_uint8"
    return [
        helper.make_node("Mul", [name, f"{name}_inverse"], [even], name=f"{name}_smooth"),
        helper.make_node("QuantizeLinear", [even, f"{name}_scale", f"{name}_zero"], [codes], name=f"{name}_round"),
    ]


def _store_weight(name: str, weight: NDArray[np.float32], initializers: Any) -> None:
    codes, scales = int8_codes(weight, axis=0)
    initializers.append(numpy_helper.from_array(codes, f"{name}_weight"))
    initializers.append(numpy_helper.from_array(scales.ravel(), f"{name}_weight_scale"))


def _int8_product(node: onnx.NodeProto) -> onnx.NodeProto:
    activation, (output,) = node.input[0], node.output
    inputs = [f"{activation}_uint8", f"{output}_weight", f"{activation}_scale", f"{output}_weight_scale"]
    inputs.append(f"{activation}_zero")
    return helper.make_node("MatMulIntegerToFloat", inputs, [output], name=node.name, domain=MICROSOFT)
