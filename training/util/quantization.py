"""Embeddings in fewer bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
STEPS = ("int8", "uint8")
FEW = 100
"""Embeddings below which the range of each dimension is a poor estimate."""


def quantize_embeddings(
    embeddings: Any,
    precision: str,
    ranges: NDArray[Any] | None = None,
    calibration_embeddings: NDArray[Any] | None = None,
) -> NDArray[Any] | list[NDArray[Any]]:
    """Embeddings (rows, dimension) of floats as float32, as one of 256 steps per number, or as one bit per number.

    "uint8" counts the steps from 0 and "int8" from -128, between the smallest and the largest number of each
    dimension: of `ranges`, shape (2, dimension), else of `calibration_embeddings`, else of the embeddings.
    "ubinary" packs the signs, 8 to a byte, and "binary" is that less 128. A list of matrices gives a list, all of
    them in the same steps; an empty list stays empty. Raises ValueError for an unknown precision, for embeddings that
    are integers, and where one embedding alone would have to give the ranges.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Precision {precision!r} is not supported, must be one of {PRECISIONS}")
    if isinstance(embeddings, list) and (not embeddings or np.ndim(embeddings[0]) == 2):
        return _matrices([float_array(matrix) for matrix in embeddings], precision, ranges, calibration_embeddings)
    return _quantized(float_array(embeddings), precision, ranges, calibration_embeddings)


def _matrices(
    matrices: list[NDArray[Any]], precision: str, ranges: NDArray[Any] | None, calibration: NDArray[Any] | None
) -> list[NDArray[Any]]:
    if calibration is None and matrices:
        calibration = np.concatenate(matrices)
        if precision in STEPS and ranges is None and len(calibration):
            ranges = _ranges(calibration, precision, None)
    return [_quantized(matrix, precision, ranges, calibration) for matrix in matrices]


def _quantized(
    values: NDArray[Any], precision: str, ranges: NDArray[Any] | None, calibration: NDArray[Any] | None
) -> NDArray[Any]:
    if values.dtype.kind in "iu":
        raise ValueError(f"the embeddings are {values.dtype} already; quantize those of floats")
    if precision == "float32":
        return values.astype(np.float32)
    if precision not in STEPS:
        packed = np.packbits(values > 0, axis=-1)
        return np.asarray(packed if precision == "ubinary" else (packed ^ 0x80).view(np.int8))
    if values.ndim == 2 and not len(values):
        return values.astype(precision)
    low, high = np.asarray(_ranges(values, precision, calibration) if ranges is None else ranges, np.float32)
    step = (high - low) / 255
    steps = np.clip(np.floor((values - low) / np.where(step == 0, 1, step)), 0, 255)
    return np.asarray(steps if precision == "uint8" else steps - 128, dtype=precision)


def float_array(embeddings: Any) -> NDArray[Any]:
    """An array of tensors, arrays or lists of either; bfloat16, which NumPy has not, becomes float32."""
    if isinstance(embeddings, torch.Tensor):
        tensor = embeddings.float() if embeddings.dtype == torch.bfloat16 else embeddings
        return np.asarray(tensor.detach().cpu())
    if isinstance(embeddings, Sequence) and embeddings and isinstance(embeddings[0], torch.Tensor):
        return float_array(torch.stack(list(embeddings)))
    return np.asarray(embeddings)


def _ranges(values: NDArray[Any], precision: str, calibration: NDArray[Any] | None) -> NDArray[Any]:
    if calibration is None:
        if values.ndim == 1 or len(values) == 1:
            raise ValueError(
                f"{precision} needs the range of each dimension, which one embedding does not give: pass ranges or "
                "calibration_embeddings to quantize_embeddings"
            )
        if len(values) < FEW:
            logger.warning("%s: ranges from %d embeddings only; better pass ranges of more", precision, len(values))
        calibration = values
    return np.vstack((np.min(calibration, axis=0), np.max(calibration, axis=0)))
