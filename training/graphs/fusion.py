"""Fused transformer operators of ONNX Runtime in place of the patterns that make them up."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from app.model.artifact import Artifact


def fuse(artifact: Artifact, source: Path, target: Path) -> None:
    """Writes `source` with attention, layer norm and GELU as one operator each, where their patterns are found.

    What is not found stays as it is: the disentangled attention of DeBERTa and the rotary one of ModernBERT do.
    """
    # With a skip connection in it, ONNX Runtime's layer norm is seven times slower on a CPU (see LOG.md).
    _save(_optimised(artifact, source, skip_layer_norm=False), target)


def fuse_fp16(artifact: Artifact, source: Path, target: Path) -> None:
    """The same in float16, for GPUs; the logits come out in float32."""
    graph = _optimised(artifact, source, skip_layer_norm=True)
    graph.convert_float_to_float16(keep_io_types=True)
    _save(graph, target)


def _save(graph: Any, target: Path) -> None:
    graph.save_model_to_file(str(target))


def _optimised(artifact: Artifact, source: Path, *, skip_layer_norm: bool) -> Any:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    config = AutoConfig.from_pretrained(artifact.directory, local_files_only=True)
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # its operator hides the table from quantisation
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = skip_layer_norm
    options.use_multi_head_attention = True  # unlike Attention it leaves the projections visible as MatMul
    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)  # it warns of each pattern not found
    return optimize_model(
        str(source),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=options,
        opt_level=0,
    )
