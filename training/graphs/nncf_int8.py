"""Static int8 for OpenVINO by NNCF."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

# Before the import, and whatever it is set to: NNCF reports its use to its maker otherwise.
os.environ["NNCF_CI"] = "1"
import nncf
import openvino as ov
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

from app.model.types import Batch
from training.graphs.openvino_ir import save
from training.graphs.qdq import SMOOTHING


def write_int8(source: Path, target: Path, calibration: Sequence[Batch]) -> None:
    """Writes a graph with int8 products in OpenVINO's format: NNCF's preset for transformers, calibrated on batches."""
    logging.getLogger("nncf").setLevel(logging.WARNING)
    model = ov.Core().read_model(source)
    names = {port.any_name for port in model.inputs}
    rows = [{name: batch[name] for name in names} for batch in calibration]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(rows),
        # Not the mean of the texts' ranges, which is the default: it cuts off half of the texts' extremes.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHING),
        ),
    )
    save(quantized, target)
