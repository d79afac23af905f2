"""A model that gives the scores it was told, and two evaluators compared on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class Card:
    """Keeps what evaluators hand to a model card."""

    def __init__(self) -> None:
        self.metrics: list[tuple[Any, dict[str, Any], float, int]] = []

    def set_evaluation_metrics(self, evaluator: Any, metrics: dict[str, Any], epoch: float = 0, step: int = 0) -> None:
        self.metrics.append((evaluator, dict(metrics), epoch, step))


class FakeModel:
    """Scores a pair by what `score` says of its two texts, or all pairs in order by given numbers."""

    def __init__(self, scores: Callable[[str, str], Any] | Sequence[Any], num_labels: int = 1) -> None:
        self.scores = scores
        self.num_labels = num_labels
        self.model_card_data = Card()
        self.calls: list[tuple[list[Any], dict[str, Any]]] = []

    def predict(self, pairs: Iterable[Any], **options: Any) -> np.ndarray:
        pairs = list(pairs)
        self.calls.append((pairs, options))
        found = [self.scores(*pair) for pair in pairs] if callable(self.scores) else self.scores
        return np.asarray(found, dtype=np.float32)


def assert_same(ours: Any, theirs: Any, scores: Any, tmp_path: Path, num_labels: int = 1) -> dict[str, float]:
    """Both evaluators: same keys, values, primary metric, card metrics and CSV files, byte for byte."""
    own, other = FakeModel(scores, num_labels), FakeModel(scores, num_labels)
    for epoch, steps in ((-1, -1), (2, 7)):
        found = ours(own, str(tmp_path / "ours"), epoch, steps)
        wanted = theirs(other, str(tmp_path / "theirs"), epoch, steps)
        assert list(found) == list(wanted)
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)
        assert all(type(value) is float for value in found.values())
    assert ours.primary_metric == theirs.primary_metric
    assert ours.description == theirs.description
    assert ours.get_config_dict() == theirs.get_config_dict()
    assert_same_cards(own.model_card_data, other.model_card_data)
    assert files_of(tmp_path / "ours") == files_of(tmp_path / "theirs")
    return found


def assert_same_cards(own: Card, other: Card) -> None:
    for (_, found, *when), (_, wanted, *then) in zip(own.metrics, other.metrics, strict=True):
        assert when == then
        if any(isinstance(value, str) for value in wanted.values()):
            assert found == wanted
        else:
            assert found == pytest.approx(wanted, rel=1e-12, nan_ok=True)


def files_of(directory: Path) -> dict[str, bytes]:
    """Contents of all files by name."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
