"""From a model's files to a transformers model and its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from app.model.artifact import OFFSET_POSITIONS
from training.cross_encoder.sources import Source, locate

logger = logging.getLogger(__name__)
MODEL_TYPE = "CrossEncoder"
ADAPTER_CONFIG = "adapter_config.json"
SETTINGS_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
OLD_SETTINGS = {"model_args": "model_kwargs", "tokenizer_args": "processor_kwargs", "config_args": "config_kwargs"}


@dataclass(slots=True)
class Wishes:
    """What the caller, and below him the files of the model, want of the three `from_pretrained` calls."""

    model: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    """Draws fresh weights from this seed; None takes them from torch's global generator."""


@dataclass(slots=True)
class Library:
    """What the library's own files say: `settings` of the model as a whole, `transformer` of its first module."""

    modules: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    transformer: dict[str, Any] = field(default_factory=dict)
    card: str | None = None


@dataclass(slots=True)
class Loaded:
    """A model ready for use. `fresh` names the parameters that no file held."""

    model: Any
    tokenizer: Any
    config: Any
    fresh: tuple[str, ...] = ()


def load(source: Source, library: Library, wishes: Wishes, with_weights: bool = True) -> Loaded:
    """Configuration, tokenizer and, unless a graph takes their place, the weights of a sequence classifier."""
    source.require()
    merged = merge_wishes(library, wishes)
    config = load_config(source, merged)
    require_classifier(source, config, library)
    model, fresh = load_classifier(source, config, merged) if with_weights else (None, ())
    return Loaded(model, load_tokenizer(source, config, library, merged), config, fresh)


def require_classifier(source: Source, config: Any, library: Library) -> None:
    """Raises ValueError for models that score otherwise than by a classification head."""
    names = [str(module.get("type", "")).rpartition(".")[2] for module in library.modules]
    if names[1:]:
        raise ValueError(f"{source.name}: has the modules {', '.join(names)}; only Transformer alone is supported")
    architectures = config.architectures or []
    if architectures and architectures[0].endswith("ForCausalLM"):
        raise ValueError(
            f"{source.name}: is a causal language model ({architectures[0]}); rerankers that score the tokens "
            "'yes' and 'no' are not supported, use one with a sequence classification head"
        )


def read_library(source: Source) -> Library:
    """The library's files beside the model; all empty for a plain transformers directory.

    Of a model of another type (a bi-encoder) only the transformer is used: its prompts do not fit a reranker.
    """
    modules: list[dict[str, Any]] = list(source.json("modules.json"))
    if not modules:
        return Library()
    settings = source.json("config_sentence_transformers.json")
    kind = settings.get("model_type", "SentenceTransformer")
    if kind != MODEL_TYPE:
        logger.warning(
            "%s is a %s: its transformer becomes a cross-encoder with a fresh head, its prompts are dropped",
            source.name,
            kind,
        )
        return Library()
    card = source.file("README.md")
    text = card.read_text(encoding="utf-8", errors="replace") if card is not None else None
    return Library(modules, settings, _transformer_settings(source, modules), text)


def _transformer_settings(source: Source, modules: list[dict[str, Any]]) -> dict[str, Any]:
    folder = modules[0].get("path", "") if modules else ""
    for name in SETTINGS_FILES:
        found = source.json(f"{folder}/{name}" if folder else name)
        if found:
            current = {OLD_SETTINGS.get(key, key): value for key, value in found.items()}
            for key in OLD_SETTINGS.values():  # a downloaded file must not switch on its own code
                current.get(key, {}).pop("trust_remote_code", None)
            return current
    return {}


def merge_wishes(library: Library, wishes: Wishes) -> Wishes:
    """The caller's wishes over those that were saved with the model."""
    saved = library.transformer
    processor = {**saved.get("processor_kwargs", {}), **wishes.processor}
    if saved.get("max_seq_length") is not None:
        processor.setdefault("model_max_length", saved["max_seq_length"])
    folder = library.modules[0].get("path", "") if library.modules else ""
    place = {"subfolder": folder} if folder else {}
    return Wishes(
        {**place, **saved.get("model_kwargs", {}), **wishes.model},
        {**place, **processor},
        {**place, **saved.get("config_kwargs", {}), **wishes.config},
        wishes.seed,
    )


def load_config(source: Source, wishes: Wishes) -> Any:
    """The transformers configuration; one label where the checkpoint has no classification head of its own."""
    adapter = source.json(ADAPTER_CONFIG)
    place = source
    if adapter and source.file("config.json") is None:  # what 6.2 saves names the base alone
        place = source.elsewhere(locate(adapter["base_model_name_or_path"]))
    config = AutoConfig.from_pretrained(place.name, **{**place.hub_kwargs(), **wishes.config})
    architectures = config.architectures or []
    has_head = any(name.endswith("ForSequenceClassification") for name in architectures)
    if not has_head and "num_labels" not in wishes.config:
        config.num_labels = 1
    return config


def load_classifier(source: Source, config: Any, wishes: Wishes) -> tuple[Any, tuple[str, ...]]:
    """The sequence classifier and the names of its fresh parameters, in float32 unless a dtype is asked for."""
    kwargs = {**source.hub_kwargs(), **wishes.model}
    if "torch_dtype" in kwargs:
        kwargs.setdefault("dtype", kwargs.pop("torch_dtype"))
    if kwargs.get("dtype") is None:
        # Half-precision checkpoints would be trained in half precision: small updates round to nothing.
        kwargs["dtype"] = torch.float32
    with seeded(wishes.seed):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            source.name, config=config, output_loading_info=True, **kwargs
        )
    mismatched = (entry[0] if isinstance(entry, tuple | list) else entry for entry in info["mismatched_keys"])
    return model, tuple(sorted({*info["missing_keys"], *mismatched}))


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draws from `seed` inside, without a trace in the global generators; `None` changes nothing."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def load_tokenizer(source: Source, config: Any, library: Library, wishes: Wishes) -> Any:
    """The tokenizer, its limit lowered to what the model's positions allow unless the caller sets one."""
    tokenizer = AutoTokenizer.from_pretrained(source.name, **{**source.hub_kwargs(), **wishes.processor})
    if "model_max_length" not in wishes.processor:
        tokenizer.model_max_length = min([tokenizer.model_max_length, *_positions(config)])
    if library.transformer.get("do_lower_case") and tokenizer.is_fast:
        _lower_case(tokenizer.backend_tokenizer)
    return tokenizer


def _positions(config: Any) -> list[int]:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:  # XLNet writes -1 for no limit
        return []
    if config.model_type in OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return [positions]


def _lower_case(backend: Any) -> None:
    from tokenizers.normalizers import Lowercase, Sequence

    present = backend.normalizer
    backend.normalizer = Lowercase() if present is None else Sequence([Lowercase(), present])
