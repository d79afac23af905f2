"""Int8 forms of an ONNX graph. A form is one function here and one line in `FORMS`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization import quantize_dynamic as ort_dynamic

from app.model.types import Batch
from training.graph_edit import drop_unused, int8_codes, replace_nodes
from training.static_int8 import static

LARGE_TABLE = 100_000
"""Elements from which a lookup table is worth storing in int8."""
# Fused operators are outside ONNX's own shape inference, so the quantiser cannot see the type of their outputs.
FLOAT_OUTPUTS = {"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT}


def quantize(source: Path, target: Path, form: str, calibration: Sequence[Batch]) -> None:
    """Writes `source` with int8 matrix products in one of `FORMS`, and int8 embedding tables."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FORMS[form](source, target, calibration)
    model = onnx.load(str(target))
    quantize_tables(model)
    onnx.save(model, str(target))


def dynamic(source: Path, target: Path, calibration: Sequence[Batch]) -> None:
    """Activation scales measured on every batch: no calibration, but a row's scores depend on its neighbours."""
    ort_dynamic(
        str(source),
        str(target),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options=FLOAT_OUTPUTS,
    )


def blockwise(source: Path, target: Path, calibration: Sequence[Batch]) -> None:
    """Int8 weights in blocks of 32; the kernel rounds activations per row and block, so batches do not matter."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)  # it reports every node
    quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), bits=8, block_size=32, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    onnx.save(quantizer.model.model, str(target))


FORMS: dict[str, Callable[[Path, Path, Sequence[Batch]], None]] = {
    "static": static,
    "dynamic": dynamic,
    "blockwise": blockwise,
}


def quantize_tables(model: onnx.ModelProto) -> None:
    """Stores every large float lookup table as int8 with one scale per row; lookups are rescaled to float32."""
    tables = {table.name: table for table in model.graph.initializer if table.data_type == TensorProto.FLOAT}
    nodes = []
    for node in model.graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or int(np.prod(table.dims)) < LARGE_TABLE or len(table.dims) != 2:
            nodes.append(node)
            continue
        codes, scales = int8_codes(numpy_helper.to_array(table), axis=1)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(codes, f"{table.name}_int8"),
                numpy_helper.from_array(scales, f"{table.name}_scale"),
            ]
        )
        nodes += _lookup(table.name, node.input[1], node.output[0])
    replace_nodes(model, nodes)
    drop_unused(model)


def _lookup(table: str, indices: str, output: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Gather", [f"{table}_int8", indices], [f"{output}_int8"], name=f"{output}_codes"),
        helper.make_node("Gather", [f"{table}_scale", indices], [f"{output}_scale"], name=f"{output}_scales"),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_float"], name=f"{output}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output], name=f"{output}_rescale"),
    ]
