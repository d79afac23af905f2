"""What the machine's matrix products reach at best, as a measure for everything else.

`python -m tests.benchmarks.matrix_peak` prints it as JSON: billions of operations per second by kind of arithmetic.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SIZE, ROUNDS = 1536, 7


def peaks(environment: Mapping[str, str]) -> dict[str, float]:
    """GFLOP/s for fp32, bf16, int16 and int8, measured in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.matrix_peak"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(environment)).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def gflop(config: Mapping[str, Any], lengths: list[int]) -> float:
    """Billions of operations of the matrix products of a BERT encoder on rows of these lengths."""
    hidden, wide, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    tokens, pairs = sum(lengths), sum(length**2 for length in lengths)
    return float(2e-9 * layers * (tokens * (4 * hidden**2 + 2 * hidden * wide) + 2 * pairs * hidden))


def _measured() -> dict[str, float]:
    """Multiplications and additions per second, the best of some large square products and of two libraries."""
    import torch

    from app.model.cpus import available_cpus
    from tests.benchmarks.forms import has_bf16, has_vnni

    torch.set_num_threads(available_cpus())
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16() else {})
    seconds = {kind: _float_seconds(dtype) for kind, dtype in kinds.items()}
    seconds["int8"] = min(_torch_int8_seconds(), _onnx_int8_seconds())
    found = {kind: 2e-9 * SIZE**3 / taken for kind, taken in seconds.items()}
    return found | ({"int16": int16_rate(available_cpus())} if has_vnni() else {})


def _float_seconds(dtype: Any) -> float:
    import torch

    first, second = torch.randn(2, SIZE, SIZE).to(dtype).unbind()
    return _best(lambda: first @ second)


def _torch_int8_seconds() -> float:
    """int8 by int8."""
    import torch

    first, second = torch.randint(-127, 127, (2, SIZE, SIZE), dtype=torch.int8).unbind()
    return _best(lambda: torch._int_mm(first, second))


def _onnx_int8_seconds() -> float:
    """uint8 by int8, as quantised graphs multiply."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

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


def int16_rate(threads: int, times: int = 20_000) -> float:
    """Billions of operations of our own tile over and over, on operands that stay in the cache of each core.

    No library multiplies int16.
    """
    import numpy as np
    from numba import njit

    from app.model.vnni.tile_size import COLUMNS, ROWS
    from app.model.vnni.tiles import dot_tile

    @njit(nogil=True)
    def repeat(times: int, a: Any, b: Any, zeros: Any, c: Any) -> None:
        for _ in range(times):
            dot_tile(
                a[0, 0], a.ctypes.data, a.strides[0], b.ctypes.data, b.shape[1], 1, zeros.ctypes.data, c.ctypes.data,
                COLUMNS * 4, zeros.ctypes.data, zeros.ctypes.data, zeros.ctypes.data, 0, c.ctypes.data, COLUMNS * 4,
            )  # fmt: skip

    width = 256
    operands = [
        (np.ones((ROWS, width), np.int16), np.ones((1, width // 2, COLUMNS, 2), np.int16))
        for _ in range(threads)
    ]  # fmt: skip

    def work(pair: Any) -> None:
        repeat(times, *pair, np.zeros(COLUMNS, np.int32), np.zeros((ROWS, COLUMNS), np.float32))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, operands))  # compiles
        seconds = _best(lambda: list(pool.map(work, operands)))
    return 2e-9 * times * threads * ROWS * COLUMNS * width / seconds


def _best(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)


if __name__ == "__main__":
    print(json.dumps(_measured()))
