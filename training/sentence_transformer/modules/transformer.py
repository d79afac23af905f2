"""A transformers encoder with its tokenizer: from texts to an embedding per token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from app.model.types import Encoded
from training.cross_encoder.encoders import Encoders
from training.cross_encoder.encoding import PairEncoder
from training.cross_encoder.input_names import input_names
from training.cross_encoder.modules.of_transformers import OfTransformers
from training.cross_encoder.packed.chunks import suited_tokens
from training.cross_encoder.packed.scorer import PackedEncoder
from training.cross_encoder.padded import PaddedScorer, pad_rows
from training.cross_encoder.saving import write_json
from training.cross_encoder.sources import Source
from training.sentence_transformer.modules.module import Features, Module
from training.sentence_transformer.pretrained import (
    SETTINGS_FILE,
    Parts,
    load_parts,
    load_settings,
    place_of,
    renamed_settings,
    require_text_encoder,
)

OUTPUT = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
"""What sentence-transformers is told about an encoder of text."""


class Transformer(OfTransformers, Module):
    """ "token_embeddings" by a transformers encoder, of padded inputs or of rows laid end to end.

    BERT, RoBERTa, XLM-RoBERTa and ModernBERT compute rows without padding; other models have them padded to the
    longest of a chunk of rows of similar lengths.
    """

    config_file_name = SETTINGS_FILE

    def __init__(
        self,
        model_name_or_path: str,
        *,
        max_seq_length: int | None = None,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        cache_dir: str | None = None,
        do_lower_case: bool = False,
        **older: Any,
    ) -> None:
        """`older` are model_args, tokenizer_args and config_args; a place in one of the dictionaries counts for all.

        Texts are cut to `max_seq_length` tokens, by default to what tokenizer and positions allow.
        """
        settings: dict[str, Any] = {
            "model_kwargs": model_kwargs,
            "processor_kwargs": processor_kwargs,
            "config_kwargs": config_kwargs,
            "max_seq_length": max_seq_length,
            "do_lower_case": do_lower_case,
        }
        current = {**renamed_settings(older), **{key: value for key, value in settings.items() if value is not None}}
        if unknown := sorted(set(current) - set(settings)):
            raise TypeError(f"Transformer has no arguments {', '.join(unknown)}")
        source, current = place_of(model_name_or_path, cache_dir, current)
        super().__init__()
        self._adopt(load_parts(source, "", current))

    @classmethod
    def read(cls, source: Source, folder: str, **wishes: Any) -> Self:
        """The module kept in `folder`; `wishes` are the caller's model_kwargs, processor_kwargs and config_kwargs."""
        settings = load_settings(source, folder)
        require_text_encoder(source, settings)
        for name, wish in wishes.items():
            settings[name] = {**(settings.get(name) or {}), **(wish or {})}
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        module._adopt(load_parts(source, folder, settings))
        return module

    def _adopt(self, parts: Parts) -> None:
        self.model: Any = parts.model
        self.tokenizer: Any = parts.tokenizer
        self._encoders = Encoders()
        self._prompt_lengths: dict[tuple[str, int], int] = {}

    # From texts to rows.

    @property
    def encoder(self) -> PairEncoder:
        """Encodes texts for this model; made anew when tokenizer or length change."""
        return self._encoders.get(self.tokenizer)

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> tuple[list[Encoded], int]:
        """A row per text, the prompt in front; and how many tokens at the start of each row are the prompt's."""
        encoder = self.encoder
        return encoder.singles(texts, prompt), self._prompt_length(encoder, prompt)

    def _prompt_length(self, encoder: PairEncoder, prompt: str | None) -> int:
        """Tokens of the prompt alone, without a special token behind it."""
        if not prompt:
            return 0
        key = (prompt, self.max_seq_length)
        if key not in self._prompt_lengths:
            ids = encoder.singles([prompt])[0].ids
            closed = len(ids) > 0 and int(ids[-1]) in self.tokenizer.all_special_ids
            self._prompt_lengths[key] = len(ids) - closed
        return self._prompt_lengths[key]

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None) -> Features:
        """Padded tensors of the texts, as `forward` takes them: shape (texts, longest)."""
        rows, length = self.encode_texts(inputs, prompt)
        features: Features = {**pad_rows(rows, self.encoder.padding)}
        return {**features, "prompt_length": length} if length else features

    # From rows to token embeddings.

    def forward(self, features: Features) -> Features:
        known = input_names(self.model)
        arguments = {name: value for name, value in features.items() if name in known}
        features["token_embeddings"] = self.model(**{**arguments, "return_dict": True}).last_hidden_state
        return features

    def stream(
        self, rows: Sequence[Encoded], *, batch_size: int, first_token_only: bool = False
    ) -> Iterator[tuple[list[int], Features]]:
        """Indices of some `rows` with their features laid end to end, the longest first, until all had their turn.

        A chunk has at most as many tokens as `batch_size` of the longest rows, and never more than suits the device.
        With `first_token_only` no more than "cls_token_embeddings" is promised, shape (rows, hidden).
        """
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        while order and not len(rows[order[-1]]):  # no token at all: nothing to compute
            empty = order.pop()
            yield [empty], _found(self._no_tokens(first_token_only), [rows[empty]], first_token_only)
        if not order:
            return
        budget = min(suited_tokens(self.model), batch_size * len(rows[order[0]]))
        packed = PackedEncoder.of(self.model)
        cut = (packed or PaddedScorer(self.model)).cut([len(rows[i]) for i in order], budget)
        chunks = [[order[i] for i in span] for span in cut]
        taken = [[rows[i] for i in chunk] for chunk in chunks]
        if packed is None:
            for chunk, some in zip(chunks, taken, strict=True):
                yield chunk, self._padded(some)
            return
        states = packed.states(taken, self.encoder.padding, every_token=not first_token_only)
        for chunk, some, tokens in zip(chunks, taken, states, strict=True):
            yield chunk, _found(tokens, some, first_token_only)

    def _no_tokens(self, first_token_only: bool) -> torch.Tensor:
        parameter: torch.Tensor = next(self.model.parameters())
        return parameter.new_zeros(int(first_token_only), self.get_embedding_dimension())

    def _padded(self, rows: Sequence[Encoded]) -> Features:
        # Behind the text whatever the tokenizer does: in front it would move absolute positions.
        inputs = pad_rows(rows, replace(self.encoder.padding, side="right"))
        device = next(self.model.parameters()).device
        features = self({name: value.to(device) for name, value in inputs.items()})
        return {name: features[name] for name in ("token_embeddings", "attention_mask")}

    # Saving.

    def get_config_dict(self) -> dict[str, Any]:
        """What sentence-transformers keeps about its transformer."""
        return dict(OUTPUT)

    def save(self, output_path: str | Path, *, safe_serialization: bool = True) -> None:
        """Writes weights, configuration, tokenizer and settings."""
        self.model.save_pretrained(str(output_path))
        self.tokenizer.save_pretrained(str(output_path))
        write_json(Path(output_path) / self.config_file_name, self.get_config_dict())


def _found(tokens: torch.Tensor, rows: Sequence[Encoded], first_token_only: bool) -> Features:
    if first_token_only:
        return {"cls_token_embeddings": tokens}
    return {"token_embeddings": tokens, "lengths": torch.tensor([len(row) for row in rows], device=tokens.device)}
