"""What the modules have in common: their settings and weights in a folder of the model's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.cross_encoder.saving import write_json
from training.cross_encoder.sources import Source

Features = dict[str, Any]
"""What travels from module to module. "token_embeddings" are either padded, shape (rows, longest, hidden), with an
"attention_mask"; or laid end to end, shape (tokens, hidden), with the "lengths" of the rows, shape (rows,)."""
WEIGHTS = "model.safetensors"
OLDER_WEIGHTS = "pytorch_model.bin"


class Module(nn.Module):
    """Takes features and gives them back with its own added."""

    config_keys: tuple[str, ...] = ()
    """The attributes that are kept in `config_file_name`, named as the arguments of the constructor."""
    config_file_name = "config.json"

    def forward(self, features: Features) -> Features:
        """`features` with those of this module."""
        raise NotImplementedError

    def get_config_dict(self) -> dict[str, Any]:
        """The settings."""
        return {key: getattr(self, key) for key in self.config_keys}

    def save(self, output_path: str | Path, *, safe_serialization: bool = True) -> None:
        """Writes settings and, where there are any, weights into the folder `output_path`; always as safetensors."""
        write_json(Path(output_path) / self.config_file_name, self.get_config_dict())
        if weights := self.state_dict():
            save_weights(weights, Path(output_path))

    def __repr__(self) -> str:
        """Kind and settings, without the layers inside."""
        return f"{type(self).__name__}({self.get_config_dict()})"

    @classmethod
    def read(cls, source: Source, folder: str) -> Self:
        """The module kept in `folder` of a model."""
        module = cls(**source.json(inside(folder, cls.config_file_name)))
        if module.state_dict():
            module.load_state_dict(read_weights(source, folder))
        return module


def inside(folder: str, name: str) -> str:
    """The path of a file in a model's folder, which may be the model's directory itself."""
    return f"{folder}/{name}" if folder else name


def save_weights(weights: dict[str, Tensor], folder: Path) -> None:
    """Writes safetensors."""
    save_file({name: value.detach().contiguous().cpu() for name, value in weights.items()}, folder / WEIGHTS)


def read_weights(source: Source, folder: str) -> dict[str, Tensor]:
    """The weights in `folder`, as safetensors or in PyTorch's own format. Raises ValueError if there are none."""
    path = source.file(inside(folder, WEIGHTS))
    if path is not None:
        return load_file(path)
    path = source.file(inside(folder, OLDER_WEIGHTS))
    if path is None:
        raise ValueError(f"{inside(source.name, folder)}: has neither {WEIGHTS} nor {OLDER_WEIGHTS}; save it again")
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found
