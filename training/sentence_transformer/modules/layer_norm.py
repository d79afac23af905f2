"""Layer normalisation of the sentence embedding."""

from __future__ import annotations

from torch import nn

from training.sentence_transformer.modules.module import Features, Module


class LayerNorm(Module):
    """Mean 0 and variance 1 for each sentence embedding, then a learned scale and shift."""

    config_keys = ("dimension",)

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.norm = nn.LayerNorm(dimension)

    def forward(self, features: Features) -> Features:
        """Replaces the sentence embedding, shape (rows, dimension)."""
        features["sentence_embedding"] = self.norm(features["sentence_embedding"])
        return features

    def get_embedding_dimension(self) -> int:
        """Size of the embedding."""
        return self.dimension
