"""State of a run on disk: written whole or not at all, so that a kill at any moment loses no more than some steps."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that the next step depends on. `step` counts finished steps; `fingerprint` names the recipe."""

    fingerprint: str
    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    rng: torch.Tensor
    losses: list[float]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces the checkpoint at `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(asdict(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may keep the new name and lose the content
    temporary.replace(path)


def load_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """The checkpoint at `path`, None where there is none. Raises ConfigError if another recipe wrote it."""
    if not path.is_file():
        return None
    checkpoint = Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    if checkpoint.fingerprint != fingerprint:
        raise ConfigError(f"{path}: belongs to another recipe; delete it to start anew, or choose another output")
    return checkpoint
