"""Small edits of ONNX graphs that the quantisers share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray


def int8_codes(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 codes of a matrix, and float32 scales that are shared along `axis` (which they keep, as 1)."""
    scales = np.abs(values).max(axis=axis, keepdims=True) / 127
    scales[scales == 0] = 1
    return np.rint(values / scales).astype(np.int8), scales.astype(np.float32)


def replace_nodes(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Makes `nodes` the graph's nodes; they may come from the graph itself."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]  # clearing would empty them
    del model.graph.node[:]
    model.graph.node.extend(kept)


def drop_unused(model: onnx.ModelProto) -> None:
    """Removes the constants that no node reads any more."""
    used = {name for node in model.graph.node for name in node.input}
    for entry in [entry for entry in model.graph.initializer if entry.name not in used]:
        model.graph.initializer.remove(entry)
