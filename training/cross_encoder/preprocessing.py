"""From texts to the padded tensors that a transformer takes."""

from __future__ import annotations

from typing import Any

from training.cross_encoder.encoders import Encoders
from training.cross_encoder.encoding import PairEncoder
from training.cross_encoder.inputs import as_items, encode, is_single
from training.cross_encoder.modules.setup import GENERATION, Setup
from training.cross_encoder.padded import pad_rows
from training.cross_encoder.processing import Settings, max_length_of, merged


class Preprocessing:
    """What everything with a tokenizer can do with pairs of texts."""

    tokenizer: Any
    setup: Setup
    processing_kwargs: dict[str, Any]
    _encoders: Encoders

    @property
    def modalities(self) -> list[str]:
        """Kinds of input: text alone."""
        return ["text"]

    @property
    def pair_encoder(self) -> PairEncoder:
        """Encodes texts for this model; made when first used, and anew when tokenizer or length change."""
        return self.encoder()

    def encoder(self, processing_kwargs: Settings = None) -> PairEncoder:
        """`pair_encoder` with settings for one call over those of the model.

        Raises ValueError if a language model's tokenizer no longer pads on the left: its last position is its answer.
        """
        if self.setup.task == GENERATION and self.tokenizer.padding_side != "left":
            raise ValueError("a causal model needs left padding: set model.tokenizer.padding_side = 'left' again")
        settings = merged(self.processing_kwargs, processing_kwargs)
        return self._encoders.get(self.tokenizer, max_length_of(settings), settings.get("chat_template"))

    def preprocess(self, inputs: Any, prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Padded tensors as `forward` takes them, shape (inputs, longest), of a list of pairs or of single texts.

        A tuple of two texts is one pair.
        """
        if not inputs:
            return {}
        one = isinstance(inputs, str | tuple) and is_single(inputs)
        items = as_items([inputs] if one else inputs)
        encoder = self.encoder(kwargs.get("processing_kwargs"))
        modality = "text" if self.setup.chat is None else "message"
        return {**pad_rows(encode(encoder, items, prompt), encoder.padding), "modality": modality}
