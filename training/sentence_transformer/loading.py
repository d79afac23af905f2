"""From a model's files to its modules and settings."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from training.cross_encoder.modules.files import checked_folder, load_tail
from training.cross_encoder.modules.registry import PACKAGES
from training.cross_encoder.sources import Source
from training.sentence_transformer.modules.pooling import Pooling
from training.sentence_transformer.modules.static_embedding import StaticEmbedding
from training.sentence_transformer.modules.transformer import Transformer

logger = logging.getLogger(__name__)
MODEL_TYPE = "SentenceTransformer"


@dataclass(slots=True)
class Loaded:
    """The modules of a model, in order, what it keeps about itself as a whole, and its README.md."""

    modules: OrderedDict[str, nn.Module]
    settings: dict[str, Any] = field(default_factory=dict)
    card: str | None = None


def load_modules(source: Source, wishes: Mapping[str, Any]) -> Loaded:
    """A model saved by sentence-transformers or here; any other transformers model gets mean pooling.

    `wishes` are the caller's model_kwargs, processor_kwargs and config_kwargs. Raises ValueError for a module that
    does not exist here and cannot come first, or cannot follow.
    """
    entries = source.json("modules.json")
    settings = source.json("config_sentence_transformers.json")
    kind = settings.get("model_type", MODEL_TYPE)
    if not entries:
        return Loaded(default_modules(source, wishes, "no sentence-transformers model"))
    if kind != MODEL_TYPE:
        return Loaded(default_modules(source, wishes, f"a {kind}, of which only the encoder is taken"))
    card = source.file("README.md")
    text = None if card is None else card.read_text(encoding="utf-8", errors="replace")
    modules = OrderedDict({str(entries[0]["name"]): _first(source, entries[0], wishes)})
    modules.update(load_tail(source, entries))
    return Loaded(modules, settings, text)


def default_modules(source: Source, wishes: Mapping[str, Any], found: str) -> OrderedDict[str, nn.Module]:
    """The encoder and the mean over its tokens; of a causal language model the last token, which saw all others.

    A warning says so, and what was `found` in place of a model's own modules.
    """
    transformer = Transformer.read(source, "", **wishes)
    names = transformer.config.architectures or [""]
    causal = names[0].endswith("ForCausalLM") and getattr(transformer.config, "is_causal", True)
    mode = "lasttoken" if causal else "mean"
    logger.warning("%s: %s; its tokens are pooled by %r", source.name, found, mode)
    pooling = Pooling(transformer.get_embedding_dimension(), mode)
    return OrderedDict([("0", transformer), ("1", pooling)])


def _first(source: Source, entry: Mapping[str, Any], wishes: Mapping[str, Any]) -> nn.Module:
    path, folder = str(entry["type"]), checked_folder(str(entry.get("path") or ""), source)
    name = path.rpartition(".")[2]
    if path.startswith(PACKAGES) and name == Transformer.__name__:
        return Transformer.read(source, folder, **wishes)
    if path.startswith(PACKAGES) and name == StaticEmbedding.__name__:
        return StaticEmbedding.read(source, folder)
    raise ValueError(
        f"{source.name}: begins with the module {path}; only Transformer and StaticEmbedding can, "
        "load this model with sentence-transformers itself"
    )
