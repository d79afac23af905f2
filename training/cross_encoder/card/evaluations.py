"""What evaluators measured: one table per kind of evaluator, and the same figures for the front matter."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from training.cross_encoder.card.markdown import code, escape, joined, number, one_line, plural, table
from training.cross_encoder.card.parameters import full_name, parameters, parameters_block

AFTER_TRAINING = -1
"""The step that evaluators are given, by default, outside of training."""


@dataclass
class Evaluation:
    """The metrics of one evaluator at every step it ran; the evaluator and its texts are not kept alive."""

    evaluator: weakref.ref[Any] | None
    kind: str
    description: str
    name: str
    primary: str | None
    config: str
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    latest: int = AFTER_TRAINING

    def metrics(self, best_step: int | None) -> dict[str, Any]:
        """Those of the saved weights: measured after training, or at the best step, or at the last."""
        if self.latest != AFTER_TRAINING and best_step in self.history:
            return self.history[best_step]
        return self.history[self.latest]

    def is_of(self, evaluator: Any) -> bool:
        return self.evaluator is not None and self.evaluator() is evaluator

    def key(self) -> tuple[str, str, str]:
        return self.kind, self.name, self.config

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"evaluator": None}  # a weak reference cannot be pickled


def record(evaluations: list[Evaluation], evaluator: Any, metrics: Mapping[str, Any], step: int) -> None:
    """Adds `metrics` to the evaluation of the same evaluator (the object, or its kind, name and parameters)."""
    new = _evaluation_of(evaluator)
    one = next((one for one in evaluations if one.is_of(evaluator) or (one.name and one.key() == new.key())), new)
    if one is new:
        evaluations.append(one)
    one.primary = primary_of(evaluator)  # evaluators put their name before it when they first run
    one.history[step] = {key: plain(value) for key, value in metrics.items()}
    one.latest = step


def _evaluation_of(evaluator: Any) -> Evaluation:
    name = str(getattr(evaluator, "name", None) or "")
    return Evaluation(_weak(evaluator), full_name(evaluator), describe(evaluator), name, None, parameters(evaluator))


def _weak(evaluator: Any) -> weakref.ref[Any] | None:
    try:
        return weakref.ref(evaluator)
    except TypeError:  # a class with slots, or a function of C
        return None


def describe(evaluator: Any) -> str:
    """The evaluator's `description`, else its class name in words without "Evaluator"."""
    description = getattr(evaluator, "description", None)
    if isinstance(description, str) and description:
        return description
    name = re.sub(r"^CE(?=[A-Z])", "CrossEncoder", type(evaluator).__name__).partition("Evaluator")[0]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def primary_of(evaluator: Any) -> str | None:
    primary = getattr(evaluator, "primary_metric", None)
    return primary if isinstance(primary, str) else None


def primaries_of(evaluator: Any) -> list[str]:
    """The names of the metrics that stand for the evaluator, or for the evaluators it runs, in the training log."""
    inner = getattr(evaluator, "evaluators", None) or [evaluator]
    return [primary for one in inner if (primary := primary_of(one))]


def plain(value: Any) -> Any:
    """A NumPy or torch scalar as a Python number."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) != 0 else value


def _short(one: Evaluation, metrics: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Metrics and primary metric without the name before them, where all carry it."""
    prefix = f"{one.name}_"
    if not one.name or not all(key.startswith(prefix) for key in metrics):
        return dict(metrics), one.primary
    primary = one.primary.removeprefix(prefix) if one.primary else None
    return {key.removeprefix(prefix): value for key, value in metrics.items()}, primary


def sections(evaluations: Sequence[Evaluation], best_step: int | None) -> str:
    """A heading, the parameters and one table for each group of evaluators of a kind, with a column for each name."""
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for one in evaluations:
        metrics, primary = _short(one, one.metrics(best_step))
        key = (one.kind, one.description, one.config, frozenset(metrics))
        members = groups.setdefault(key, [])
        if any(member.of.name == one.name for member in members):  # two of one name stay apart
            members = groups.setdefault((*key, len(groups)), [])
        members.append(Member(one, metrics, primary))
    return "\n\n".join(_section(members) for members in groups.values())


class Member(NamedTuple):
    """One column of a table."""

    of: Evaluation
    metrics: dict[str, Any]
    primary: str | None


def _section(members: Sequence[Member]) -> str:
    first = members[0].of
    names = [member.of.name for member in members if member.of.name]
    lines = [f"#### {escape(first.description)}", ""]
    if names:
        lines.append(f"* {plural('Dataset', len(names))}: {joined(code(name) for name in names)}")
    lines.append(f"* Evaluated with {code(first.kind)}{' with these parameters:' if first.config else ''}")
    lines += ["  " + parameters_block(first.config).replace("\n", "\n  ")] if first.config else []
    return "\n".join([*lines, "", _table(members)])


def _table(members: Sequence[Member]) -> str:
    rows = []
    for metric in members[0].metrics:
        cells = {"Metric": escape(metric)}
        for member in members:
            cells["Value" if len(members) == 1 else escape(member.of.name or "unnamed")] = number(
                member.metrics[metric]
            )
        primary = metric == members[0].primary
        rows.append({key: f"**{cell}**" for key, cell in cells.items()} if primary else cells)
    return table(rows)


def metric_names(evaluations: Sequence[Evaluation], best_step: int | None) -> list[str]:
    """Every metric once, without the evaluators' names."""
    return list(dict.fromkeys(key for one in evaluations for key in _short(one, one.metrics(best_step))[0]))


def model_index(model_name: str, evaluations: Sequence[Evaluation], best_step: int | None) -> list[dict[str, Any]]:
    """The `model-index` of the front matter; empty where nothing was measured."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type=one_line(one.description).lower().replace(" ", "-"),
            task_name=one_line(one.description),
            dataset_type=one_line(one.name) or "unknown",
            dataset_name=re.sub("[_-]", " ", one_line(one.name)) or "Unknown",
            metric_type=metric,
            metric_name=metric.replace("_", " ").title(),
            metric_value=figure,
        )
        for one in evaluations
        for metric, value in _short(one, one.metrics(best_step))[0].items()
        if (figure := _figure(value)) is not None
    ]
    return eval_results_to_model_index(model_name, results) if results else []


def _figure(value: Any) -> float | None:
    """The number in a value such as 0.5 or "0.5000 (+0.1000)"; None where there is none."""
    try:
        figure = float(value.split()[0] if isinstance(value, str) else value)
    except (TypeError, ValueError, IndexError):
        return None
    return figure if math.isfinite(figure) else None
