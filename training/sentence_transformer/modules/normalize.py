"""Embeddings of length 1."""

from __future__ import annotations

import torch

from training.cross_encoder.sources import Source
from training.sentence_transformer.modules.module import Features, Module, inside


class Normalize(Module):
    """Scales "sentence_embedding", or another feature, to length 1; zeros stay zeros."""

    config_keys = ("module_input_name", "module_output_name")

    def __init__(self, module_input_name: str = "sentence_embedding", module_output_name: str | None = None) -> None:
        super().__init__()
        self.module_input_name = module_input_name
        self.module_output_name = module_output_name or module_input_name

    def forward(self, features: Features) -> Features:
        value = features.get(self.module_input_name)
        if value is not None:
            features[self.module_output_name] = torch.nn.functional.normalize(value, dim=-1)
        return features

    @classmethod
    def read(cls, source: Source, folder: str) -> Normalize:
        """Models saved before this module had settings have an empty folder, or none."""
        saved = source.json(inside(folder, cls.config_file_name)) if folder else {}
        return cls(**{key: value for key, value in saved.items() if key in cls.config_keys})
