"""What mining asks of an engine: vectors of texts and scores of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from app.model.types import FloatArray
from training.engines import Compute, Engine


@dataclass(frozen=True)
class TextEncoding:
    """Vectors by a `method` of the model that `model()` loads."""

    model: Callable[[], Any]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self, threads: int) -> Compute:
        """From texts to one row each."""
        encode = getattr(self.model(), self.method)
        return lambda block: np.asarray(encode(block["text"].to_pylist(), **self.options), dtype=np.float32)

    def on(self, engine: Engine, groups: Iterable[Sequence[str]]) -> Iterator[FloatArray]:
        """The vectors of each group of texts."""
        return engine.arrays(self, (pa.table({"text": _texts(group)}) for group in groups))


@dataclass(frozen=True)
class PairPrediction:
    """Scores by `predict` of the model that `model(threads)` loads."""

    model: Callable[[int], Any]
    batch_size: int

    def load(self, threads: int) -> Compute:
        """From pairs to one score each."""
        model = self.model(threads)
        options = {"batch_size": self.batch_size, "convert_to_numpy": True, "show_progress_bar": False}

        def scores(block: pa.Table) -> FloatArray:
            pairs = list(zip(block["query"].to_pylist(), block["document"].to_pylist(), strict=True))
            return np.asarray(model.predict(pairs, **options), dtype=np.float32)

        return scores

    def on(self, engine: Engine, groups: Iterable[Sequence[tuple[str, str]]]) -> Iterator[FloatArray]:
        """The scores of each group of pairs."""
        names = ("query", "document")
        columns = (zip(names, zip(*group, strict=True), strict=True) for group in groups)
        return engine.arrays(self, (pa.table({name: _texts(texts) for name, texts in pair}) for pair in columns))


def _texts(texts: Sequence[str]) -> Any:
    return pa.array(texts, pa.large_string())
