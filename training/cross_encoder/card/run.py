"""What a training run tells the card, as plain values that can be pickled with the model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.cross_encoder.card.datasets import DatasetFacts
from training.cross_encoder.card.logs import Row


@dataclass
class Clock:
    """How long training took, and how much of that was evaluation."""

    started: float | None = None
    total_s: float | None = None
    evaluating_s: float = 0.0

    def start(self) -> None:
        self.started, self.total_s, self.evaluating_s = time.monotonic(), None, 0.0

    def stop(self) -> None:
        self.total_s = self.elapsed()

    def elapsed(self) -> float | None:
        if self.total_s is not None or self.started is None:
            return self.total_s
        return time.monotonic() - self.started

    def add_evaluation(self, seconds: float) -> None:
        """Counts only what happens during training."""
        if self.started is not None and self.total_s is None:
            self.evaluating_s += seconds

    def __getstate__(self) -> dict[str, Any]:
        """A running clock means nothing in another process: there it stands still."""
        return self.__dict__ | {"started": None, "total_s": self.elapsed()}


@dataclass
class Run:
    """The last training run of a model."""

    train: list[DatasetFacts] = field(default_factory=list)
    evaluation: list[DatasetFacts] = field(default_factory=list)
    loss_names: list[str] = field(default_factory=list)
    citations: dict[str, str] = field(default_factory=dict)
    primaries: list[str] = field(default_factory=list)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    non_default: Mapping[str, Any] = field(default_factory=dict)
    logs: list[Row] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def size(self) -> int:
        return sum(facts.size or 0 for facts in self.train)
