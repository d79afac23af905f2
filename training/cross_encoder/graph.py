"""Scoring with an exported ONNX or OpenVINO graph instead of the PyTorch weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.model.backends import BackendOptions
from app.model.backends.graphs import graph_files
from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder as GraphRunner
from app.model.hub import HubOptions
from app.model.types import Encoded
from training.cross_encoder.sources import Source

KNOWN = {"provider", "file_name", "subfolder", "export"}


class Graph:
    """A loaded graph that scores rows. Safe to call from several threads."""

    def __init__(self, source: Source, backend: str, device: str | None, model_kwargs: dict[str, Any]) -> None:
        """Raises ArtifactError, naming `rerank-training export`, where the model has no such graph."""
        if unknown := set(model_kwargs) - KNOWN:
            raise ValueError(f"model_kwargs {sorted(unknown)} have no meaning for backend={backend!r}")
        if model_kwargs.get("export"):
            raise ValueError("export=True: models are exported beforehand, with 'rerank-training export'")
        hub = HubOptions(
            revision=source.revision,
            token=source.token if isinstance(source.token, str) else None,
            local_files_only=source.local_files_only,
            cache_directory=None if source.cache_folder is None else Path(source.cache_folder),
        )
        self._runner = GraphRunner.load(source.name, backend, _options(backend, device, model_kwargs), hub)

    def logits(self, rows: Sequence[Encoded], batch_size: int) -> Tensor:
        """Logits (rows, labels), float32, on the CPU, in the order of `rows`."""
        return torch.from_numpy(self._runner.logits(rows, Budget(max_rows=batch_size)))

    def save(self, directory: Path) -> None:
        """Copies the graph and the files that hold its weights to the same place in `directory`."""
        artifact = self._runner.artifact
        for name in graph_files(artifact.files(), self._runner.backend.source):
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not (target.exists() and target.samefile(artifact.directory / name)):
                shutil.copyfile(artifact.directory / name, target)


def _options(backend: str, device: str | None, model_kwargs: dict[str, Any]) -> BackendOptions:
    provider = model_kwargs.get("provider")
    name = model_kwargs.get("file_name") or ""
    folder = model_kwargs.get("subfolder", backend if name and "/" not in name else "")
    graph = f"{folder}/{name}" if name and folder else name
    options = BackendOptions(device=device or "auto", providers=(provider,) if provider else (), graph=graph)
    return options.for_many_rows()
