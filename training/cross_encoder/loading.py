"""From a model's files to a transformers model and its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from app.model.artifact import OFFSET_POSITIONS
from training.cross_encoder.modules.files import load_tail
from training.cross_encoder.modules.logit_score import yes_or_no
from training.cross_encoder.modules.setup import (
    CLASSIFICATION,
    FEATURES,
    GENERATION,
    MODEL_TYPE,
    Setup,
    message_format,
    saved_setup,
    setup_for,
)
from training.cross_encoder.peft_adapters import has_peft, require_peft
from training.cross_encoder.sources import Source, locate

logger = logging.getLogger(__name__)
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
    setup: Setup = field(default_factory=lambda: setup_for(CLASSIFICATION))
    tail: dict[str, nn.Module] = field(default_factory=dict)
    """The modules after the transformer, by name."""
    processing: dict[str, Any] = field(default_factory=dict)
    """Settings of the tokenizer, and of the chat template, for every call."""


def load(source: Source, library: Library, wishes: Wishes, with_weights: bool = True) -> Loaded:
    """Configuration, tokenizer and modules; the weights too unless a graph takes their place.

    A causal language model without modules of its own scores by its tokens "yes" and "no". Raises ValueError where a
    graph is wanted of anything but a sequence classifier.
    """
    source.require()
    merged = merge_wishes(library, wishes)
    config = load_config(source, merged)
    setup = setup_of(library, config, source.name)
    if setup.task != CLASSIFICATION and not with_weights:
        raise ValueError(f"{source.name}: only sequence classifiers score by a graph; load it with backend='torch'")
    tail = load_tail(source, library.modules)
    loaded = load_transformer(source, config, library, merged, setup, with_weights)
    if not library.modules:
        setup = setup.with_template_of(loaded.tokenizer, loaded.config.model_type)
    elif setup.chat == "auto":
        form = message_format(loaded.tokenizer.chat_template, loaded.config.model_type)
        setup = replace(setup, chat=form)
    if setup.task == GENERATION and not library.modules:
        tail = {"1": yes_or_no(loaded.tokenizer, source.name)}
    return replace(loaded, setup=setup, tail=tail)


def setup_of(library: Library, config: Any, name: str) -> Setup:
    """What the transformer is used for: as saved, else by its architecture."""
    if library.modules:
        return saved_setup(library.transformer, FEATURES if library.modules[1:] else CLASSIFICATION, name)
    architecture = (config.architectures or [""])[0]
    return setup_for(GENERATION if architecture.endswith("ForCausalLM") else CLASSIFICATION)


def load_transformer(
    source: Source, config: Any, library: Library, merged: Wishes, setup: Setup, with_weights: bool = True
) -> Loaded:
    """The first module: tokenizer and, if wanted, the weights, for the task of `setup`, which `config` is told of."""
    if setup.task == CLASSIFICATION:
        default_labels(config, merged)
    elif "use_cache" not in merged.config:  # nothing is generated: keys and values of the past have no use
        config.use_cache = False
    model, fresh = load_model(source, config, merged, setup.task) if with_weights else (None, ())
    tokenizer = load_tokenizer(source, config, library, merged)
    if setup.task == GENERATION:  # so that the last position of every row is a real token
        tokenizer.padding_side = "left"
    processing = library.transformer.get("processing_kwargs") or {}
    return Loaded(model, tokenizer, config, fresh, setup, processing=processing)


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
    """The transformers configuration; of an adapter without one, that of its base."""
    adapter = source.json(ADAPTER_CONFIG)
    place = source
    if adapter and source.file("config.json") is None:  # what 6.2 saves names the base alone
        place = source.elsewhere(locate(adapter["base_model_name_or_path"]))
    return AutoConfig.from_pretrained(place.name, **{**place.hub_kwargs(), **wishes.config})


def default_labels(config: Any, wishes: Wishes) -> None:
    """One label where the checkpoint has no classification head of its own."""
    has_head = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    if not has_head and "num_labels" not in wishes.config:
        config.num_labels = 1


def auto_class(config: Any, task: str) -> Any:
    """The class of transformers that loads a model for `task`; of encoder-decoders, features come from the encoder."""
    if task == GENERATION:
        return transformers.AutoModelForCausalLM
    if task == FEATURES:
        return transformers.AutoModelForTextEncoding if config.is_encoder_decoder else transformers.AutoModel
    return transformers.AutoModelForSequenceClassification


def load_model(source: Source, config: Any, wishes: Wishes, task: str) -> tuple[Any, tuple[str, ...]]:
    """The model and the names of its fresh parameters, in float32 unless a dtype is asked for."""
    if not has_peft() and source.json(ADAPTER_CONFIG):
        require_peft(f"{source.name}: an adapter")
    kwargs = {**source.model_kwargs(), **wishes.model}
    if "torch_dtype" in kwargs:
        kwargs.setdefault("dtype", kwargs.pop("torch_dtype"))
    if kwargs.get("dtype") is None:
        # Half-precision checkpoints would be trained in half precision: small updates round to nothing.
        kwargs["dtype"] = torch.float32
    with seeded(wishes.seed):
        model, info = auto_class(config, task).from_pretrained(
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
