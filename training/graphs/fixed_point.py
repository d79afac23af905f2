"""From a PyTorch classifier to the file of the vnni backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from app.model.types import Batch, FloatArray
from app.model.vnni.spreading import SIZE, spread
from app.model.vnni.weights import LEVELS, Shape, block_size, padded, quantised, require_finite, write
from training.graphs.rounding import Moments, input_moments, rounded

Named = Iterator[tuple[str, NDArray[Any]]]


def write_fixed_point(artifact: Artifact, target: Path, bits: int, calibration: Sequence[Batch] = ()) -> None:
    """Writes a BERT, RoBERTa or XLM-RoBERTa with products of `bits` bits: 32 (float), 16 or 8 (integers).

    Weights are rounded for the inputs that batches of `calibration`, without padding, give them, if there are any.
    Raises ConfigError for other models, ArtifactError where a weight is not finite.
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
    spread = bits == 8 and block_size(padded(config.hidden_size), bits) == SIZE
    shape = Shape(bits, heads, config.hidden_size // heads, config.layer_norm_eps, padding, spread)
    encoder = family.encoder_of(model)
    moments = input_moments(model, _linear_layers(encoder), calibration) if calibration else {}
    write(target, shape, dict(_tensors(model, encoder, shape, moments)))


def _linear_layers(encoder: Any) -> dict[str, Any]:
    """By the names of the file; one of those that share their inputs."""
    return {
        f"layers.{i}.{name}": part
        for i, layer in enumerate(encoder.encoder.layer)
        for name, part in (
            ("inputs", layer.attention.self.query),
            ("mixed", layer.attention.output.dense),
            ("wide", layer.intermediate.dense),
            ("narrow", layer.output.dense),
        )
    }


def _tensors(model: Any, encoder: Any, shape: Shape, moments: Moments) -> Named:
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
        yield from _layer(f"layers.{i}.", layer, shape, moments, last=i == len(layers) - 1)
    head = model.classifier
    dense, out = (head.dense, head.out_proj) if hasattr(head, "out_proj") else (encoder.pooler.dense, head)
    yield from (*_plain("head.dense", dense), *_plain("head.out", out))


def _layer(prefix: str, layer: Any, shape: Shape, moments: Moments, *, last: bool) -> Named:
    own, attended = layer.attention.self, layer.attention.output
    inputs = [own.query] if last else [own.query, own.key, own.value]
    if last:  # only the first token asks there, which needs no keys and values of the others
        yield f"{prefix}key.weight", _array(own.key.weight)
        yield from _plain(f"{prefix}value", own.value)
    weights = _joined([_wide(_array(part.weight)) for part in inputs], shape)
    biases = _joined([_array(part.bias)[:, None] for part in inputs], shape)[:, 0]
    yield from _quantised(f"{prefix}inputs", weights, biases, shape, _wide, moments)
    for name, part, laid in (
        ("mixed", attended.dense, lambda rows: _columns_by_head(rows, shape)),
        ("wide", layer.intermediate.dense, _wide),
        ("narrow", layer.output.dense, _wide),
    ):
        weight, bias = _wide(laid(_array(part.weight)).T).T, _wide(_array(part.bias)[None])[0]
        yield from _quantised(f"{prefix}{name}", weight, bias, shape, laid, moments)
    yield from (
        *_plain(f"{prefix}attention_norm", attended.LayerNorm),
        *_plain(f"{prefix}output_norm", layer.output.LayerNorm),
    )


def _quantised(
    name: str,
    weight: FloatArray,
    bias: FloatArray,
    shape: Shape,
    laid: Callable[[NDArray[Any]], NDArray[Any]],
    moments: Moments,
) -> Named:
    """A layer's integers, scales and bias; `laid` lays out columns of its inputs as those of `weight` are."""
    products = laid(laid(moments[name]).T) if name in moments and shape.bits == 8 else None
    if shape.spread and name.endswith(("inputs", "wide")):
        weight = (spread(weight) / SIZE).astype(np.float32)
        products = None if products is None else spread(spread(products).T)
    weight = np.ascontiguousarray(weight)
    integers, scales = quantised(weight, shape.bits) if products is None else rounded(weight, shape.bits, products)
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


def _columns_by_head(rows: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """(any, heads * size) to (any, heads * size with padding)."""
    return _by_head(rows.T, shape).reshape(-1, len(rows)).T


def _wide(rows: FloatArray) -> FloatArray:
    """Rows filled up with zeros to whole panels."""
    return np.pad(rows, ((0, 0), (0, padded(rows.shape[1]) - rows.shape[1])))


def _array(parameter: torch.Tensor) -> FloatArray:
    values: FloatArray = parameter.detach().numpy()
    return values
