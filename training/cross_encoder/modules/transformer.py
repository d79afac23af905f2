"""The first module of a cross-encoder that is put together by hand."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from training.cross_encoder.loading import Library, Wishes, load_config, load_transformer
from training.cross_encoder.modules.of_transformers import OfTransformers
from training.cross_encoder.modules.setup import FEATURES, setup_for
from training.cross_encoder.sources import Source, locate


class Transformer(OfTransformers, nn.Module):
    """A transformers model with its tokenizer, for `CrossEncoder(modules=[Transformer(...), ...])`.

    `transformer_task`: "feature-extraction" gives "token_embeddings" to the modules behind it, "text-generation" the
    "causal_logits" of a language model, "sequence-classification" the scores themselves. Weights are float32 unless
    `model_kwargs` names a `dtype`. Raises ValueError for another task.
    """

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
