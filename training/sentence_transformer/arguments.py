"""Arguments of `SentenceTransformer` and `encode`: checked on the way in, and the form of the answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder.legacy_arguments import warn_once
from training.sentence_transformer.modules.static_embedding import StaticEmbedding
from training.sentence_transformer.modules.transformer import Transformer
from training.util.quantization import PRECISIONS, float_array, quantize_embeddings

INPUT_MODULES = (Transformer, StaticEmbedding)
OUTPUTS = ("sentence_embedding", "token_embeddings", None)


def converted(found: Tensor, single: bool, precision: str | None, to_numpy: bool, to_tensor: bool) -> Any:
    """A tensor if asked, else a NumPy array if asked, else a list of tensors; of a single text its embedding."""
    values: Any = found
    if len(found) and precision not in (None, "float32"):
        values = quantize_embeddings(found, precision or "")
    if to_tensor:
        values = torch.as_tensor(values)
    elif to_numpy:
        values = float_array(values)
    else:
        values = list(torch.as_tensor(values))
    return values[0] if single else values


def named_modules(modules: Sequence[nn.Module] | Mapping[str, nn.Module]) -> OrderedDict[str, nn.Module]:
    """Modules by name, numbers where they have none. Raises ValueError unless the first one takes texts."""
    named = OrderedDict(modules if isinstance(modules, Mapping) else ((str(i), one) for i, one in enumerate(modules)))
    first = next(iter(named.values()))
    if not isinstance(first, INPUT_MODULES):
        kinds = " or ".join(kind.__name__ for kind in INPUT_MODULES)
        raise ValueError(f"modules begin with a {type(first).__name__}; the first must be a {kinds} of training.models")
    return named


def require_source(name: Any, modules: Any, backend: str) -> None:
    """Raises ValueError unless the arguments say where the model comes from."""
    if backend != "torch":
        raise ValueError(
            f"SentenceTransformer(backend={backend!r}): embeddings are computed with backend='torch' only; for others "
            "use sentence-transformers itself, with its extra of that name"
        )
    if name:
        if modules is not None:
            warn_once("SentenceTransformer: modules are ignored, the model is loaded by its name")
    elif modules is None:
        raise ValueError("SentenceTransformer needs model_name_or_path, or modules")
    elif not len(modules):
        raise ValueError("an empty list of modules was given to SentenceTransformer; give at least one")


def check_options(batch_size: int, chunk_size: int | None, precision: str | None, output_value: str | None) -> None:
    """Raises ValueError for options of `encode` that make no sense."""
    for name, value in {"batch_size": batch_size, "chunk_size": chunk_size}.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be a positive integer, got {value}.")
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"Precision {precision!r} is not supported, must be one of {PRECISIONS}")
    if output_value not in OUTPUTS:
        raise ValueError(f"output_value {output_value!r} is unknown; choose one of {OUTPUTS}")
