"""Int8 matrix products with fixed activation scales, written with standard operators only (QDQ).

Every product keeps its float operator and gets QuantizeLinear / DequantizeLinear pairs around its inputs; ONNX Runtime
and OpenVINO each replace the pattern by their own int8 product when they load the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.model.types import Batch
from training.graphs.calibration import Range, activation_ranges, activations
from training.graphs.edit import drop_unused, int8_codes, replace_nodes

SMOOTHING = 0.75
"""Chosen by measurement: see LOG.md."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """What happens to an activation: division by `factors` per channel, then uint8 codes with `scale` and `zero`."""

    factors: NDArray[np.float32]
    scale: float
    zero: int

    @classmethod
    def of(cls, extent: Range, factors: NDArray[np.float32]) -> Rounding:
        """Codes for the whole of a range."""
        low, high = extent.divided(factors)
        scale = max(high - low, 1e-12) / 255
        return cls(factors, scale, round(-low / scale))

    def rounded(self, divided: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the codes of values that are divided already stand for."""
        codes = np.clip(np.rint(divided / self.scale) + self.zero, 0, 255)
        return np.asarray((codes - self.zero) * self.scale, dtype=np.float32)


def quantize_products(model: onnx.ModelProto, calibration: Sequence[Batch], smoothing: float = SMOOTHING) -> None:
    """Quantises both inputs of every product with a constant matrix; a row's scores never depend on its batch.

    Weights are int8 per output channel, activations uint8 per tensor. Before rounding, activations are divided
    and weights multiplied by a factor per channel, which evens out channels with extreme values:
    largest activation ** smoothing / largest weight ** (1 - smoothing) (SmoothQuant, Xiao et al., 2023). The bias
    behind a product takes up what rounding does to the mean of its outputs (Nagel et al., 2019).
    """
    # Written out here: ONNX Runtime's own static quantiser cannot smooth a graph with shared inputs.
    stored = {entry.name: entry for entry in model.graph.initializer if len(entry.dims) == 2}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in stored]
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in products:
        readers.setdefault(node.input[0], []).append(node)
    weights = {name: [numpy_helper.to_array(stored[node.input[1]]) for node in readers[name]] for name in readers}
    ranges = activation_ranges(model, list(readers), calibration)
    factors = {name: smoothing_factors(ranges[name], weights[name], smoothing) for name in readers}
    roundings = {name: Rounding.of(ranges[name], factors[name]) for name in readers}
    means = _means(model, roundings, calibration)
    replacements: dict[str, list[onnx.NodeProto]] = {}
    for name, nodes in readers.items():
        before = _round_activation(name, roundings[name], model.graph.initializer)
        for node, weight in zip(nodes, weights[name], strict=True):
            # The first product brings the rounding of its input along, the others share it.
            smoothed = weight * factors[name][:, None]
            codes, scales = int8_codes(smoothed, axis=0)
            _correct_bias(model, node, means[name][1] @ (codes * scales) - means[name][0] @ smoothed)
            restored = _restore_weight(node.output[0], codes, scales, model.graph.initializer)
            replacements[node.output[0]] = [*before, restored, _product(node)]
            before = []
    replace_nodes(model, [new for node in model.graph.node for new in replacements.get(node.output[0], [node])])
    drop_unused(model)


def _means(
    model: onnx.ModelProto, roundings: Mapping[str, Rounding], calibration: Sequence[Batch]
) -> dict[str, NDArray[np.float64]]:
    """Of each activation the mean over all tokens, divided by its factors: before and after rounding, (2, channels)."""
    sums: dict[str, NDArray[np.float64]] = {}
    tokens = dict.fromkeys(roundings, 0)
    for name, values in activations(model, list(roundings), calibration, "correct"):
        divided = values / roundings[name].factors
        pair = np.stack([each.sum(axis=0, dtype=np.float64) for each in (divided, roundings[name].rounded(divided))])
        sums[name] = sums.get(name, 0) + pair
        tokens[name] += len(values)
    return {name: sums[name] / tokens[name] for name in roundings}


def _correct_bias(model: onnx.ModelProto, product: onnx.NodeProto, shift: NDArray[np.float64]) -> None:
    """Takes `shift`, shape (outputs,), off the constant that is added to a product, if one is."""
    biases = {entry.name: entry for entry in model.graph.initializer if len(entry.dims) == 1}
    for node in model.graph.node:
        if node.op_type == "Add" and product.output[0] in node.input:
            for place, name in enumerate(node.input):
                if name in biases:
                    corrected = (numpy_helper.to_array(biases[name]) - shift).astype(np.float32)
                    node.input[place] = f"{product.output[0]}_bias"
                    model.graph.initializer.append(numpy_helper.from_array(corrected, node.input[place]))


def smoothing_factors(extent: Range, weights: Sequence[NDArray[np.float32]], smoothing: float) -> NDArray[np.float32]:
    """One divisor per input channel, shape (channels,), for an activation that all of `weights` multiply."""
    activation = np.maximum(np.abs(extent.low), np.abs(extent.high)).clip(1e-5)
    weight = np.max([np.abs(matrix).max(axis=1) for matrix in weights], axis=0).clip(1e-5)
    return np.asarray(activation**smoothing / weight ** (1 - smoothing), dtype=np.float32)


def _round_activation(name: str, rounding: Rounding, initializers: Any) -> list[onnx.NodeProto]:
    constants: dict[str, NDArray[Any]] = {
        "inverse": 1 / rounding.factors,
        "scale": np.array(rounding.scale, dtype=np.float32),
        "zero": np.array(rounding.zero, dtype=np.uint8),
    }
    initializers.extend(numpy_helper.from_array(value, f"{name}_{key}") for key, value in constants.items())
    even, codes, settings = f"{name}_even", f"{name}_uint8", [f"{name}_scale", f"{name}_zero"]
    return [
        helper.make_node("Mul", [name, f"{name}_inverse"], [even], name=f"{name}_smooth"),
        helper.make_node("QuantizeLinear", [even, *settings], [codes], name=f"{name}_round"),
        helper.make_node("DequantizeLinear", [codes, *settings], [f"{name}_rounded"], name=f"{name}_restore"),
    ]


def _restore_weight(
    output: str, codes: NDArray[np.int8], scales: NDArray[np.float32], initializers: Any
) -> onnx.NodeProto:
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
