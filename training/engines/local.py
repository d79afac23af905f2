"""The engine that needs nothing: one model in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from app.errors import ConfigError
from app.model.types import FloatArray
from training.engines import EngineOptions, Work


class LocalEngine:
    """Computes one block after another."""

    def arrays(self, work: Work, blocks: Iterable[Any]) -> Iterator[FloatArray]:
        """The result of each block, in order."""
        return map(work.load(threads=0), blocks)


@contextmanager
def local_engine(options: EngineOptions) -> Iterator[LocalEngine]:
    """Raises ConfigError for options of other engines."""
    for name in ("workers", "address"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name} is for --engine ray; leave it out, or name the engine")
    yield LocalEngine()
