"""The training arguments that shape the weights: all of them, and those that differ from the defaults."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from enum import Enum
from typing import Any

from training.cross_encoder.card.markdown import escape
from training.cross_encoder.card.parameters import full_name

HOUSEKEEPING = frozenset(
    (
        "disable_tqdm",
        "do_eval",
        "do_predict",
        "do_test",
        "do_train",
        "eval_delay",
        "eval_on_start",
        "eval_steps",
        "eval_strategy",
        "evaluation_strategy",
        "greater_is_better",
        "logging_dir",
        "logging_first_step",
        "logging_steps",
        "logging_strategy",
        "metric_for_best_model",
        "output_dir",
        "report_to",
        "resume_from_checkpoint",
        "run_name",
        "samples_per_label",
        "save_steps",
        "save_strategy",
        "save_total_limit",
        "show_progress_bar",
    )
)
"""Arguments about when to look and where to write."""


FORCED = {"prediction_loss_only": True, "ddp_broadcast_buffers": False}
"""What a cross-encoder's arguments set themselves."""


def all_hyperparameters(args: Any) -> dict[str, Any]:
    """Of any `transformers.TrainingArguments`; tokens are left out altogether."""
    return {key: value for key, value in args.to_dict().items() if key not in HOUSEKEEPING and not _secret(key)}


def non_default(values: Mapping[str, Any], args: Any, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Those of `values` that differ from `defaults`, or else from the defaults of the class of `args`.

    No second `args` is made to compare with: that would reset the state of accelerate in the middle of a run.
    """
    known = _class_defaults(type(args)) if defaults is None else defaults
    return {key: value for key, value in values.items() if key in known and not _same(key, value, known[key])}


def _class_defaults(kind: type) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def _same(key: str, value: Any, default: Any) -> bool:
    """Equal, or both of them nothing: transformers turns None into False, [] or {} when it reads its arguments."""
    value, default = _plain(value), _plain(default)
    if key in FORCED and value == FORCED[key]:
        return True
    if key == "accelerator_config" and default is None:
        return _chosen(value) == _chosen(_plain_accelerator())
    return bool(value == default) or (_nothing(value) and _nothing(default))


def _chosen(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a user chooses; the others the trainer sets itself."""
    keys = ("even_batches", "gradient_accumulation_kwargs", "non_blocking", "split_batches")
    return {key: config.get(key) for key in keys}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, str | list | tuple | dict) and not value)


def _plain_accelerator() -> dict[str, Any]:
    from transformers.trainer_pt_utils import AcceleratorConfig

    config: Any = AcceleratorConfig()
    return dict(config.to_dict())


def _secret(key: str) -> bool:
    return key.endswith("_token")


def _shown(value: Any) -> Any:
    """Classes and functions by name: their own text holds an address in memory."""
    return full_name(value) if inspect.isclass(value) or inspect.isroutine(value) else _plain(value)


def listing(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- `{key}`: {escape(_shown(value))}" for key, value in values.items())
