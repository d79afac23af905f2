"""Int8 matrix products with fixed activation scales, written with standard operators only (QDQ).

Every product keeps its float operator and gets QuantizeLinear / DequantizeLinear pairs around its inputs; ONNX Runtime
and OpenVINO each replace the pattern by their own int8 product when they load the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.model.types import Batch
from training.graphs.calibration import Range, activation_ranges
from training.graphs.edit import drop_unused, int8_codes, replace_nodes

SMOOTHING = 0.75
"""Chosen by measurement: see LOG.md."""


def quantize_products(model: onnx.ModelProto, calibration: Sequence[Batch], smoothing: float = SMOOTHING) -> None:
    """Quantises both inputs of every product with a constant matrix; a row's scores never depend on its batch.

    Weights are int8 per output channel, activations uint8 per tensor. Before rounding, activations are divided
    and weights multiplied by a factor per channel, which evens out channels with extreme values:
    largest activation ** smoothing / largest weight ** (1 - smoothing) (SmoothQuant, Xiao et al., 2023).
    """
    # Written out here: ONNX Runtime's own static quantiser cannot smooth a graph with shared inputs.
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
            # The first product brings the rounding of its input along, the others share it.
            restored = _restore_weight(node.output[0], weight * factors[:, None], model.graph.initializer)
            replacements[node.output[0]] = [*rounding, restored, _product(node)]
            rounding = []
    replace_nodes(model, [new for node in model.graph.node for new in replacements.get(node.output[0], [node])])
    drop_unused(model)


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
    even, codes, settings = f"{name}_even", f"{name}_uint8", [f"{name}_scale", f"{name}_zero"]
    return [
        helper.make_node("Mul", [name, f"{name}_inverse"], [even], name=f"{name}_smooth"),
        helper.make_node("QuantizeLinear", [even, *settings], [codes], name=f"{name}_round"),
        helper.make_node("DequantizeLinear", [codes, *settings], [f"{name}_rounded"], name=f"{name}_restore"),
    ]


def _restore_weight(output: str, weight: NDArray[np.float32], initializers: Any) -> onnx.NodeProto:
    codes, scales = int8_codes(weight, axis=0)
    constants: dict[str, NDArray[Any]] = {
        "weight": codes,
        "weight_scale": scales.ravel(),
        "weight_zero": np.zeros(codes.shape[1], np.int8),
    }
    initializers.extend(numpy_helper.from_array(value, f"{output}_{key}") for key, value in constants.items())
    inputs = [f"{output}_{key}" for key in constants]
    return helper.make_node("DequantizeLinear", inputs, [f"{output}_weight_float"], name=f"{output}_weights", axis=1)


def _product(node: onnx.NodeProto) -> onnx.NodeProto:
    (output,) = node.output
    return helper.make_node("MatMul", [f"{node.input[0]}_rounded", f"{output}_weight_float"], [output], name=node.name)
