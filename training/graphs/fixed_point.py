"""From a PyTorch classifier to the file of the vnni backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from app.errors import ConfigError
from app.model.artifact import Artifact
from app.model.packed.bert import BertNetwork, RobertaNetwork
from app.model.packed.select import network_of
from app.model.types import FloatArray
from app.model.vnni.weights import LEVELS, Shape, padded, quantised, require_finite, write

Named = Iterator[tuple[str, NDArray[Any]]]


def write_fixed_point(artifact: Artifact, target: Path, bits: int) -> None:
    """Writes a BERT, RoBERTa or XLM-RoBERTa with products of `bits` bits: 32 (float), 16 or 8 (integers).

    Raises ConfigError for others, ArtifactError where a weight is not finite.
    """
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        artifact.directory, dtype=torch.float32, local_files_only=True
    ).eval()
    family, config = network_of(model), model.config
    if family is None or not issubclass(family, BertNetwork) or config.hidden_act != "gelu":
        raise ConfigError(
            f"export target vnni-{'fp' if bits == 32 else 'int'}{bits} takes BERT, RoBERTa and XLM-RoBERTa classifiers "
            f"with GELU, not {type(model).__name__} with {getattr(config, 'hidden_act', 'no such setting')}; choose "
            "another target"
        )
    require_finite(artifact.directory, {name: _array(weight) for name, weight in model.named_parameters()})
    padding = family.encoder_of(model).embeddings.padding_idx if issubclass(family, RobertaNetwork) else None
    heads = config.num_attention_heads
    shape = Shape(bits, heads, config.hidden_size // heads, config.layer_norm_eps, padding)
    write(target, shape, dict(_tensors(model, family.encoder_of(model), shape)))


def _tensors(model: Any, encoder: Any, shape: Shape) -> Named:
    tables, layers = encoder.embeddings, encoder.encoder.layer
    words = _wide(_array(tables.word_embeddings.weight))
    scales = np.ones(len(words), np.float32)
    if shape.bits != 32:
        scales = np.maximum(np.abs(words).max(axis=1), np.float32(1e-30)) / np.float32(LEVELS[16])
        words = np.rint(words / scales[:, None]).astype(np.int16)
    yield from (("embeddings.words", words), ("embeddings.scales", scales))
    yield "embeddings.positions", _wide(_array(tables.position_embeddings.weight))
    yield "embeddings.types", _wide(_array(tables.token_type_embeddings.weight))
    yield from _plain("embeddings.norm", tables.LayerNorm)
    for i, layer in enumerate(layers):
        yield from _layer(f"layers.{i}.", layer, shape, last=i == len(layers) - 1)
    head = model.classifier
    dense, out = (head.dense, head.out_proj) if hasattr(head, "out_proj") else (encoder.pooler.dense, head)
    yield from (*_plain("head.dense", dense), *_plain("head.out", out))


def _layer(prefix: str, layer: Any, shape: Shape, *, last: bool) -> Named:
    own, attended = layer.attention.self, layer.attention.output
    inputs = [own.query] if last else [own.query, own.key, own.value]
    if last:  # only the first token asks there, which needs no keys and values of the others
        yield f"{prefix}key.weight", _array(own.key.weight)
        yield from _plain(f"{prefix}value", own.value)
    weights = _joined([_wide(_array(part.weight)) for part in inputs], shape)
    biases = _joined([_array(part.bias)[:, None] for part in inputs], shape)[:, 0]
    yield from _quantised(f"{prefix}inputs", weights, biases, shape)
    mixed = _by_head(_array(attended.dense.weight).T, shape).reshape(-1, attended.dense.out_features).T
    for name, weight, bias in (
        ("mixed", mixed, attended.dense.bias),
        ("wide", _array(layer.intermediate.dense.weight), layer.intermediate.dense.bias),
        ("narrow", _array(layer.output.dense.weight), layer.output.dense.bias),
    ):
        yield from _quantised(f"{prefix}{name}", _wide(_wide(weight).T).T, _wide(_array(bias)[None])[0], shape)
    yield from (
        *_plain(f"{prefix}attention_norm", attended.LayerNorm),
        *_plain(f"{prefix}output_norm", layer.output.LayerNorm),
    )


def _quantised(name: str, weight: FloatArray, bias: FloatArray, shape: Shape) -> Named:
    integers, scales = quantised(np.ascontiguousarray(weight), shape.bits)
    yield from ((f"{name}.weight", integers), (f"{name}.scales", scales), (f"{name}.bias", np.ascontiguousarray(bias)))


def _plain(name: str, module: Any) -> Named:
    yield from ((f"{name}.weight", _array(module.weight)), (f"{name}.bias", _array(module.bias)))


def _joined(parts: Sequence[FloatArray], shape: Shape) -> FloatArray:
    """Rows of several matrices: those of the first head of each, then those of the second."""
    by_head = np.stack([_by_head(part, shape) for part in parts], axis=1)
    return by_head.reshape(-1, by_head.shape[-1])


def _by_head(rows: FloatArray, shape: Shape) -> FloatArray:
    """(heads * size, any) to (heads, size with padding, any)."""
    split = rows.reshape(shape.heads, shape.size, -1)
    return np.pad(split, ((0, 0), (0, padded(shape.size) - shape.size), (0, 0)))


def _wide(rows: FloatArray) -> FloatArray:
    """Rows filled up with zeros to whole panels."""
    return np.pad(rows, ((0, 0), (0, padded(rows.shape[1]) - rows.shape[1])))


def _array(parameter: torch.Tensor) -> FloatArray:
    values: FloatArray = parameter.detach().numpy()
    return values
