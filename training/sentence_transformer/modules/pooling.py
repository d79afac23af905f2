"""From the embeddings of a text's tokens to one embedding of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.cross_encoder.sources import Source
from training.sentence_transformer.modules.module import Features, Module, inside
from training.sentence_transformer.ragged import Ragged, ragged_tokens

OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The switches of releases before 5.4; several that are on stand in this order."""


class Pooling(Module):
    """ "sentence_embedding" of shape (rows, dimension), the modes one behind the other.

    "cls" and "lasttoken" take the first and the last token; "max" and "mean" go over all; "mean_sqrt_len_tokens"
    divides the sum by the square root of their number; "weightedmean" weighs the token at place i by i, from 1.
    Without `include_prompt` the tokens of the prompt count for none of them (in "weightedmean" they keep their
    places). A text without a token has zeros.
    """

    POOLING_MODES = tuple(OLD_MODES.values())
    config_keys = ("embedding_dimension", "pooling_mode", "include_prompt")

    def __init__(
        self,
        embedding_dimension: int | None = None,
        pooling_mode: str | Sequence[str] | None = None,
        include_prompt: bool = True,
        **older: Any,
    ) -> None:
        """`older` are the names of releases before 5.4. Raises ValueError for an unknown mode."""
        super().__init__()
        settings = current_settings(older)
        dimension = settings.get("embedding_dimension", embedding_dimension)
        if dimension is None:
            raise TypeError("Pooling needs embedding_dimension")
        mode = pooling_mode if pooling_mode is not None else settings.get("pooling_mode", "mean")
        self.modes = (mode,) if isinstance(mode, str) else tuple(mode)
        for one in self.modes:
            if one not in self.POOLING_MODES:
                raise ValueError(f"pooling_mode {one!r} is unknown; choose among {', '.join(self.POOLING_MODES)}")
        self.embedding_dimension: int = dimension
        self.include_prompt = include_prompt
        self.pooling_output_dimension: int = len(self.modes) * dimension

    @property
    def pooling_mode(self) -> str | tuple[str, ...]:
        """The mode, or the modes where there are several."""
        return self.modes[0] if len(self.modes) == 1 else self.modes

    @property
    def first_token_only(self) -> bool:
        """Whether nothing but each row's first token is read."""
        return self.modes == ("cls",) and self.include_prompt

    def forward(self, features: Features) -> Features:
        if self.first_token_only and "cls_token_embeddings" in features:
            features["sentence_embedding"] = features["cls_token_embeddings"]
            return features
        ragged = ragged_tokens(features)
        prompt = 0 if self.include_prompt else int(features.get("prompt_length") or 0)
        features["sentence_embedding"] = torch.cat([pool(mode, ragged, prompt) for mode in self.modes], dim=-1)
        return features

    def get_embedding_dimension(self) -> int:
        """Numbers per embedding."""
        return self.pooling_output_dimension

    get_sentence_embedding_dimension = get_embedding_dimension

    @classmethod
    def read(cls, source: Source, folder: str) -> Pooling:
        """Settings under their names of any release."""
        return cls(**current_settings(source.json(inside(folder, cls.config_file_name))))


def current_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings under their present names. Raises TypeError for those that no release has."""
    renamed = {"word_embedding_dimension": "embedding_dimension"}
    current = {renamed.get(key, key): value for key, value in settings.items() if key not in OLD_MODES}
    if unknown := sorted(set(current) - set(Pooling.config_keys)):
        raise TypeError(f"Pooling has no settings {', '.join(unknown)}")
    if any(key in settings for key in OLD_MODES):
        switched_on = [mode for key, mode in OLD_MODES.items() if settings.get(key)]
        current.setdefault("pooling_mode", switched_on or "mean")
    return current


def pool(mode: str, ragged: Ragged, prompt: int) -> Tensor:
    """One mode, shape (rows, hidden), in the precision of the tokens; sums are made in float32 or better."""
    if mode == "cls":
        return ragged.at(torch.where(ragged.lengths > prompt, prompt, 0))
    if mode == "lasttoken":
        last = ragged.at((ragged.lengths - 1).clamp(min=0))
        return last.masked_fill(ragged.lengths[:, None] <= prompt, 0)
    kept = ragged.without_first(prompt)
    if mode == "max":
        return kept.maximum()
    if mode == "weightedmean":
        weights = (kept.places + 1).to(kept.wide)[:, None]
        total = kept.sums(weights).clamp(min=1e-9)
        return (kept.sums(kept.tokens.to(kept.wide) * weights) / total).to(kept.tokens.dtype)
    count = kept.lengths.to(kept.wide)[:, None].clamp(min=1)
    divisor = count.sqrt() if mode == "mean_sqrt_len_tokens" else count
    return (kept.sums(kept.tokens) / divisor).to(kept.tokens.dtype)
