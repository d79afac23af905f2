"""Registry of what writes a classifier's plain ONNX graph. One is a file here plus one line in `EXPORTERS`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from app.errors import ConfigError
from app.model.artifact import Artifact
from app.model.messages import first_line

Write = Callable[[Artifact, Path], None]
"""Writes the graph of an artifact with PyTorch weights to a file whose directory is free for more."""

EXPORTERS = {"torch": "training.graphs.from_torch", "optimum": "training.graphs.from_optimum"}


def load_exporter(name: str) -> Write:
    """What is registered under `name`. Raises ConfigError if it is unknown or not installed."""
    if name not in EXPORTERS:
        raise ConfigError(f"exporter {name!r} is unknown; choose one of {', '.join(EXPORTERS)}")
    try:
        write: Write = import_module(EXPORTERS[name]).write_graph
    except ImportError as error:
        raise ConfigError(
            f"exporter {name!r} does not load ({first_line(error)}): pip install 'crossrank[{name}]' in an environment "
            "of its own, since it needs an older transformers, or choose the exporter torch"
        ) from error
    return write
