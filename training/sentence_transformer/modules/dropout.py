"""Dropout on the sentence embedding."""

from __future__ import annotations

from torch import nn

from training.sentence_transformer.modules.module import Features, Module


class Dropout(Module):
    """Sets a share `dropout` of the sentence embedding to 0 in training, and scales the rest up."""

    config_keys = ("dropout",)

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        self.dropout_layer = nn.Dropout(dropout)

    def forward(self, features: Features) -> Features:
        """Replaces the sentence embedding, shape (rows, size)."""
        features["sentence_embedding"] = self.dropout_layer(features["sentence_embedding"])
        return features
