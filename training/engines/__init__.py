"""Registry of engines: where the blocks of a large job are computed. One file here plus one line in `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from app.errors import ConfigError
from app.model.types import FloatArray

Compute = Callable[[Any], FloatArray]
"""From an Arrow table of texts to float32 with as many rows."""


class Work(Protocol):
    """What is done with each block. It travels to other processes, so it is pickled and holds no model."""

    def load(self, threads: int) -> Compute:
        """The model, ready to compute with so many threads (0: as many as the machine allows)."""
        ...


class Engine(Protocol):
    """Computes blocks one after another, or many at once."""

    def arrays(self, work: Work, blocks: Iterable[Any]) -> Iterator[FloatArray]:
        """The result of each block, in the order of the blocks, which are read little by little.

        Raises EngineError if processes failed for good, and whatever `work` raises with a remedy.
        """
        ...


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`workers` None: as many as suit the machines. `address` None: what RAY_ADDRESS names, else this machine alone."""

    workers: int | None = None
    address: str | None = None


ENGINES = {
    "local": "training.engines.local:local_engine",
    "ray": "training.engines.ray_engine:ray_engine",
}


def open_engine(name: str, options: EngineOptions) -> AbstractContextManager[Engine]:
    """The engine registered under `name`, stopped at the end of a `with` block.

    Raises ConfigError if it is unknown, not installed, or asked for what it cannot do.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine {name}: unknown; choose one of {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    opened = getattr(import_module(module), attribute)(options)
    return cast(AbstractContextManager[Engine], opened)
