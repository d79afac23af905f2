"""Int8 matrix products whose activation scales are measured on every batch."""

from __future__ import annotations

import warnings
from pathlib import Path

from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

# Operators outside ONNX's own shape inference hide the type of their outputs from the quantiser.
FLOAT_OUTPUTS = {"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT}


def quantize_dynamically(source: Path, target: Path, *, unsigned: bool = False) -> None:
    """Writes `source` with int8 weights per output channel; a row's scores depend on its neighbours in the batch.

    `unsigned`: uint8 weights of 7 bits, whose sums of two products cannot overflow on CPUs with AVX2 and no VNNI.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=unsigned,
            weight_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
            extra_options=FLOAT_OUTPUTS,
        )
