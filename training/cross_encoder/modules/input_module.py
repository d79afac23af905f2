"""What the first module of a cross-encoder has beyond those behind it: a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.cross_encoder.legacy_arguments import warn_once
from training.cross_encoder.preprocessing import Preprocessing
from training.sentence_transformer.modules.module import Module


class InputModule(Preprocessing, Module):
    """Takes texts to features, then adds its own to them."""

    def tokenize(self, texts: Any, **kwargs: Any) -> dict[str, Any]:
        """Deprecated: `preprocess`."""
        warn_once("tokenize is deprecated, use preprocess")
        return self.preprocess(texts, **kwargs)

    def save_tokenizer(self, output_path: str | Path, **kwargs: Any) -> None:
        """Writes the tokenizer into the folder `output_path`."""
        self.tokenizer.save_pretrained(str(output_path), **kwargs)
