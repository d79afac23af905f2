"""An encoder of transformers and its tokenizer, from a directory or the Hub, and the settings kept beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from training.cross_encoder.loading import (
    OLD_SETTINGS,
    SETTINGS_FILES,
    Library,
    Wishes,
    auto_class,
    load_config,
    load_tokenizer,
)
from training.cross_encoder.modules.setup import FEATURES
from training.cross_encoder.sources import ORGANISATION, Source, locate
from training.sentence_transformer.modules.module import inside

SETTINGS_FILE = SETTINGS_FILES[0]
OWN_ORGANISATION = "sentence-transformers"
"""Where the Hub's embedding models without an owner's name are."""
PLACES = ("revision", "token", "local_files_only", "trust_remote_code")
DICTIONARIES = ("model_kwargs", "processor_kwargs", "config_kwargs")


class Parts(NamedTuple):
    """An encoder ready for use."""

    model: Any
    tokenizer: Any


def locate_embedder(name: str | os.PathLike[str]) -> str:
    """The directory or Hub id that a user's `name` means. Raises NotADirectoryError and FileNotFoundError."""
    found = locate(name)
    return f"{OWN_ORGANISATION}/{name}" if found == f"{ORGANISATION}/{name}" else found


def place_of(name: str, cache_dir: str | None, settings: dict[str, Any]) -> tuple[Source, dict[str, Any]]:
    """Where a model is, by what the dictionaries in `settings` say, and the settings without that."""
    place: dict[str, Any] = {}
    rest = dict(settings)
    for key in reversed(DICTIONARIES):
        given = dict(rest.get(key) or {})
        place.update({name: given.pop(name) for name in (*PLACES, "cache_dir") if name in given})
        rest[key] = given
    cache = place.pop("cache_dir", None) or cache_dir
    return Source(locate_embedder(name), cache_folder=cache, **place), rest


def renamed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under their present names."""
    return {OLD_SETTINGS.get(key, key): value for key, value in settings.items()}


def load_settings(source: Source, folder: str) -> dict[str, Any]:
    """What is kept about the transformer in `folder`, under present names."""
    files = (source.json(inside(folder, name)) for name in SETTINGS_FILES)
    settings = renamed_settings(next(filter(None, files), {}))
    for key in DICTIONARIES:  # a downloaded file must not switch on its own code
        (settings.get(key) or {}).pop("trust_remote_code", None)
    return settings


def require_text_encoder(source: Source, settings: Mapping[str, Any]) -> None:
    """Raises ValueError for transformers whose output is something else than an embedding per token of text."""
    task = settings.get("transformer_task", FEATURES)
    output = settings.get("module_output_name", "token_embeddings")
    if task != FEATURES or output != "token_embeddings" or "message" in (settings.get("modality_config") or {}):
        raise ValueError(
            f"{source.name}: its transformer gives {output!r} for the task {task!r}, or reads messages; only encoders "
            "of text with token embeddings are supported, load this model with sentence-transformers itself"
        )
    if settings.get("processing_kwargs"):
        raise ValueError(f"{source.name}: processing_kwargs are not supported; set max_seq_length instead")


def load_parts(source: Source, folder: str, settings: Mapping[str, Any]) -> Parts:
    """Model and tokenizer kept in `folder`, the model in the checkpoint's own precision unless a dtype is asked for."""
    source.require()
    place = {"subfolder": folder} if folder else {}
    model_wishes, processor_wishes, config_wishes = ({**place, **(settings.get(key) or {})} for key in DICTIONARIES)
    wishes = Wishes(model_wishes, processor_wishes, config_wishes)
    if settings.get("max_seq_length") is not None:
        wishes.processor.setdefault("model_max_length", settings["max_seq_length"])
    config = load_config(source, wishes)
    kwargs = {**source.model_kwargs(), **wishes.model}
    model = auto_class(config, FEATURES).from_pretrained(source.name, config=config, **kwargs)
    library = Library(transformer={"do_lower_case": settings.get("do_lower_case")})
    return Parts(model.eval(), load_tokenizer(source, config, library, wishes))
