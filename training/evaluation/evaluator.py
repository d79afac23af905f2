"""What an evaluator is: a callable on a model that returns one figure, or several by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


class BaseEvaluator:
    """An evaluator says which of its figures chooses the best checkpoint, and in which direction.

    Write an own one by extending this class and implementing `__call__`. One that returns a dict sets
    `primary_metric` to the key of the figure that counts.
    """

    greater_is_better: bool = True
    primary_metric: str | None = None

    def __init__(self) -> None:
        self.greater_is_better = True
        self.primary_metric = None

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> float | dict[str, float]:
        """Evaluates `model`; CSV files go to `output_path`. Epoch -1 is an evaluation outside training, steps -1
        one at the end of an epoch."""
        raise NotImplementedError

    def metric_names(self, model: Any) -> list[str] | None:
        """The keys that `__call__` will return for `model`, none if it returns a number; None: not known before."""
        return None

    def prefix_name_to_metrics(self, metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The metrics as floats (text stays text) under `name_key`; the primary metric takes the prefix, once."""
        values = {key: _float_if_number(value) for key, value in metrics.items()}
        if not name:
            return values
        if self.primary_metric is not None and not self.primary_metric.startswith(f"{name}_"):
            self.primary_metric = f"{name}_{self.primary_metric}"
        return {f"{name}_{key}": value for key, value in values.items()}

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: Mapping[str, Any], epoch: float = 0, step: int = 0
    ) -> None:
        """Hands the metrics to the model's card, where it has one."""
        card = getattr(model, "model_card_data", None)
        if card is not None:
            card.set_evaluation_metrics(self, metrics, epoch, step)

    @property
    def description(self) -> str:
        """The class name in words, without `Evaluator`: `CEF1Evaluator` is "Cross Encoder F1"."""
        name = re.sub("^CE(?=[A-Z])", "CrossEncoder", type(self).__name__).partition("Evaluator")[0]
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)

    def get_config_dict(self) -> dict[str, Any]:
        """Settings that the model card names beside the figures."""
        return {}


SentenceEvaluator = BaseEvaluator


def known_metrics(evaluator: Any, model: Any) -> list[str] | None:
    """`metric_names` of an evaluator of this package; None for those of users, which may return what they like."""
    if not isinstance(evaluator, BaseEvaluator) or not type(evaluator).__call__.__module__.startswith("training."):
        return None
    return evaluator.metric_names(model)


def prefixed(keys: Iterable[str], name: str) -> list[str]:
    """The keys of metrics of an evaluator called `name`."""
    return [f"{name}_{key}" if name else key for key in keys]


def _float_if_number(value: Any) -> Any:
    try:
        return float(value)
    except ValueError:
        return value
