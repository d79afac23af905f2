"""The model that training starts from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from app.errors import ArtifactError
from app.model.artifact import Artifact
from app.model.tokenizer import PairTokenizer

LABEL = "relevant"


def resolve_parent(name: str) -> Path:
    """The directory `name`, or the `model` directory inside the installed Python package `name`.

    Raises ArtifactError.
    """
    if Path(name).is_dir():
        return Path(name)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is not None and spec.origin is not None and (Path(spec.origin).parent / "model").is_dir():
        return Path(spec.origin).parent / "model"
    raise ArtifactError(f"parent {name!r}: neither a model directory nor an installed package that holds one")


def load_tokenizer(artifact: Artifact) -> PairTokenizer:
    """The tokeniser that the service will use for this model."""
    return PairTokenizer(artifact.tokenizer_file, pad_id=artifact.pad_id, segments=artifact.segments)
