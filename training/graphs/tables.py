"""Embedding tables in int8."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.graphs.edit import drop_unused, int8_codes, replace_nodes

LARGE_TABLE = 100_000
"""Elements from which a lookup table is worth storing in int8."""


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
