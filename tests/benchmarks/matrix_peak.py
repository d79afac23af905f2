"""What the machine's matrix products reach at best, as a measure for everything else."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

SIZE, ROUNDS = 1536, 7


@cache
def peak_gflops(kind: str) -> float:
    """Billions of multiplications and additions per second in `kind`, the best of some large square products."""
    seconds = (
        _int8_seconds() if kind == "int8" else _float_seconds(torch.bfloat16 if kind == "lossless" else torch.float32)
    )
    return 2e-9 * SIZE**3 / seconds


def gflop(config: dict[str, int], lengths: list[int]) -> float:
    """Billions of operations of the matrix products of a BERT encoder on rows of these lengths."""
    hidden, wide, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    tokens, pairs = sum(lengths), sum(length**2 for length in lengths)
    return 2e-9 * layers * (tokens * (4 * hidden**2 + 2 * hidden * wide) + 2 * pairs * hidden)


def _float_seconds(dtype: torch.dtype) -> float:
    first, second = torch.randn(2, SIZE, SIZE).to(dtype).unbind()
    return _best(lambda: first @ second)


def _int8_seconds() -> float:
    """By ONNX Runtime: uint8 by int8, as quantised graphs multiply."""
    node = helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    inputs = [
        helper.make_tensor_value_info("a", TensorProto.UINT8, [SIZE, SIZE]),
        helper.make_tensor_value_info("b", TensorProto.INT8, [SIZE, SIZE]),
    ]
    output = helper.make_tensor_value_info("c", TensorProto.INT32, [SIZE, SIZE])
    graph = helper.make_graph([node], "peak", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        "a": rng.integers(0, 255, (SIZE, SIZE), dtype=np.uint8),
        "b": rng.integers(-127, 127, (SIZE, SIZE), dtype=np.int8),
    }
    return _best(lambda: session.run(None, feeds))


def _best(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)
