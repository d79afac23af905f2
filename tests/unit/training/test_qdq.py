"""Static int8 in standard operators, on a graph of one product and its bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.graphs.qdq import quantize_products

GENERATOR = np.random.default_rng(0)
WEIGHT = GENERATOR.normal(size=(16, 4)).astype(np.float32)
BIAS = GENERATOR.normal(size=4).astype(np.float32)


@pytest.fixture
def batches() -> list[Any]:
    """Activations like those behind a GELU: many just below zero, few far above."""
    values = [GENERATOR.normal(size=(1, tokens, 16)).astype(np.float32) for tokens in (3, 50, 20)]
    return [{"x": np.where(value > 1, 4 * value, 0.05 * value)} for value in values]


def graph(*, bias: bool = True) -> onnx.ModelProto:
    """`y` = `x` WEIGHT, and + BIAS."""
    stored = [numpy_helper.from_array(WEIGHT, "weight")] + [numpy_helper.from_array(BIAS, "bias")] * bias
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["product" if bias else "y"])]
    nodes += [helper.make_node("Add", ["bias", "product"], ["y"])] * bias
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, n]) for name, n in (("x", 16), ("y", 4))
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], stored), opset_imports=opsets, ir_version=9)


def computed(model: onnx.ModelProto, batches: list[Any]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["y"], batch)[0][0] for batch in batches])


def test_the_mean_of_the_outputs_is_that_of_the_float_graph(batches: list[Any]) -> None:
    """Because the bias takes up what rounding adds to it, more than a hundred times what is left."""
    quantized = graph()
    quantize_products(quantized, batches)
    found, expected = computed(quantized, batches), computed(graph(), batches)
    assert 1e-3 < np.abs(found - expected).max() < 0.3
    constants = {entry.name: numpy_helper.to_array(entry) for entry in quantized.graph.initializer}
    left, taken = np.abs((found - expected).mean(axis=0)).max(), np.abs(constants["product_bias"] - BIAS).max()
    assert taken > 1e-4
    assert left < taken / 100


def test_a_product_without_a_bias_is_quantised_all_the_same(batches: list[Any]) -> None:
    quantized = graph(bias=False)
    quantize_products(quantized, batches)
    assert [node.op_type for node in quantized.graph.node].count("DequantizeLinear") == 2
    difference = np.abs(computed(quantized, batches) - computed(graph(bias=False), batches)).max()
    assert 1e-3 < difference < 0.3
