"""Scores of pairs by an artifact, on any engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from app.model.artifact import Artifact, read_artifact
from app.model.backends import BackendOptions, backend_class
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions, resolve
from app.model.types import FloatArray
from training.default_backend import backend_for
from training.engines import Compute


@dataclass(frozen=True, slots=True)
class PairScoring:
    """Scores blocks with the columns `query` and `document`."""

    model: str
    backend: str
    max_length: int | None

    @classmethod
    def of(cls, model: str, backend: str | None, max_length: int | None) -> PairScoring:
        """A directory is named by its whole path: other processes have other working directories."""
        chosen = backend_for(model, backend)
        return cls(str(Path(model).resolve()) if Path(model).is_dir() else model, chosen, max_length)

    def artifact(self) -> Artifact:
        """What is known of the model before it is loaded. Raises ArtifactError or ConfigError."""
        runtime = backend_class(self.backend)
        options = BackendOptions()
        return read_artifact(resolve(self.model, HubOptions(), lambda names: runtime.select_weights(names, options)))

    def load(self, threads: int) -> Compute:
        """From a block to scores: shape (rows,) for one label, else (rows, labels)."""
        options = BackendOptions(threads=threads).for_many_rows()
        model = CrossEncoder.load(self.model, backend=self.backend, options=options, max_length=self.max_length)

        def scores(block: pa.Table) -> FloatArray:
            pairs = zip(block["query"].to_pylist(), block["document"].to_pylist(), strict=True)
            return model.predict(list(pairs))

        return scores

    @staticmethod
    def block(queries: Any, documents: Any) -> pa.Table:
        """Pairs of texts as a block."""
        return pa.table({"query": queries, "document": documents})
