"""What a module tells about the model and the tokenizer of transformers that it holds."""

from __future__ import annotations

from typing import Any


class OfTransformers:
    """Properties over `model` and `tokenizer`, under the names that scripts know."""

    model: Any
    tokenizer: Any

    @property
    def auto_model(self) -> Any:
        """The transformers model."""
        return self.model

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.model.config

    @property
    def processor(self) -> Any:
        """The tokenizer, under the name it has where models take more than text."""
        return self.tokenizer

    @property
    def max_seq_length(self) -> int:
        """Most tokens of a row, special tokens included; longer ones are cut."""
        return int(self.tokenizer.model_max_length)

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.tokenizer.model_max_length = value

    def get_embedding_dimension(self) -> int:
        """Numbers per token."""
        return int(self.config.hidden_size)

    get_word_embedding_dimension = get_embedding_dimension
