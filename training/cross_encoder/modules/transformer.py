"""The first module of a cross-encoder that is put together by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from training.cross_encoder import saving
from training.cross_encoder.encoders import Encoders
from training.cross_encoder.loading import SETTINGS_FILES, Library, Wishes, load_config, load_transformer
from training.cross_encoder.modules.composite import Composite
from training.cross_encoder.modules.input_module import InputModule
from training.cross_encoder.modules.of_transformers import OfTransformers
from training.cross_encoder.modules.setup import FEATURES, Setup, setup_for
from training.cross_encoder.sources import Source, locate
from training.sentence_transformer.modules.module import Features

SHARED = ("model", "tokenizer", "setup", "fresh_parameters", "processing_kwargs")


class Transformer(OfTransformers, InputModule):
    """A transformers model with its tokenizer, for `CrossEncoder(modules=[Transformer(...), ...])`.

    `transformer_task`: "feature-extraction" gives "token_embeddings" to the modules behind it, "text-generation" the
    "causal_logits" of a language model, "sequence-classification" the scores themselves. Weights are float32 unless
    `model_kwargs` names a `dtype`. Raises ValueError for another task.
    """

    config_file_name = SETTINGS_FILES[0]

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        transformer_task: str = FEATURES,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        processing_kwargs: dict[str, Any] | None = None,
        max_seq_length: int | None = None,
        do_lower_case: bool = False,
    ) -> None:
        super().__init__()
        setup = setup_for(transformer_task)
        wishes = Wishes(dict(model_kwargs or {}), dict(processor_kwargs or {}), dict(config_kwargs or {}))
        if max_seq_length is not None:
            wishes.processor.setdefault("model_max_length", max_seq_length)
        source = Source(locate(model_name_or_path))
        library = Library(transformer={"do_lower_case": do_lower_case})
        loaded = load_transformer(source, load_config(source, wishes), library, wishes, setup)
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.fresh_parameters = loaded.fresh
        self.setup = setup.with_template_of(self.tokenizer, self.config.model_type)
        self.processing_kwargs = dict(processing_kwargs or {})
        self._encoders = Encoders(self.setup.chat)

    @property
    def transformer_task(self) -> str:
        """What the transformer is used for."""
        return self.setup.task

    def forward(self, features: Features) -> Features:
        """`features` with what the task gives added, of padded tensors as `preprocess` makes them."""
        return Composite(self.model, self.setup, ()).transformed(features)

    def get_config_dict(self) -> dict[str, Any]:
        """What sentence-transformers keeps about its transformer."""
        return saving.transformer_settings(self)

    def save(self, output_path: str | Path, *, safe_serialization: bool = True) -> None:
        """Writes weights, configuration, tokenizer and settings, the weights as safetensors in any case."""
        self.model.save_pretrained(str(output_path))
        self.save_tokenizer(output_path)
        saving.write_json(Path(output_path) / self.config_file_name, self.get_config_dict())


class SharedTransformer(Transformer):
    """The transformer of a cross-encoder: what is set here is set there."""

    fresh_parameters: tuple[str, ...]
    setup: Setup

    def __init__(self, owner: Any) -> None:
        nn.Module.__init__(self)
        for name in (*SHARED, "_encoders"):
            setattr(self, name, getattr(owner, name))
        self.__dict__["_owner"] = owner  # past nn.Module, which would make it a part of this one

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SHARED and "_owner" in self.__dict__:
            setattr(self._owner, name, value)
        super().__setattr__(name, value)
