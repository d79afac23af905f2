"""From a recipe to the trainer's arguments."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers.integrations.integration_utils import get_available_reporting_integrations

from app.errors import ConfigError
from training.cross_encoder.training_args import CrossEncoderTrainingArguments
from training.recipe import Recipe
from training.recipe_files import did_you_mean

OWN_KEYS = {
    "output_dir": "output",
    "seed": "seed",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "max_grad_norm": "clip",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "batch_size",
    "save_steps": "checkpoint_every",
    "save_strategy": "checkpoint_every",
    "eval_steps": "evaluate_every",
    "eval_strategy": "evaluate_every",
    "load_best_model_at_end": "keep_best",
    "report_to": "report_to",
}
"""Fields that have a key of the recipe."""
FIXED = {
    "resume_from_checkpoint": "a run goes on by itself from its newest checkpoint",
    "save_only_model": "a run goes on from checkpoints only if they hold the optimiser too",
    "ignore_data_skip": "a resumed run goes on with the rows that come next",
    "disable_tqdm": "the command shows a progress bar of its own",
}
"""Fields that the command itself sets, with the reason."""
LOGGED_SHARE = 0.005
"""Share of the steps between two points of the learning curve."""
PRIMARY_METRIC = "eval_sequential_score"
"""What the evaluator of several sets calls their mean."""


def training_arguments(recipe: Recipe, work: Path) -> CrossEncoderTrainingArguments:
    """Arguments of a run whose checkpoints lie in `work`. Raises ConfigError naming the key and the remedy."""
    _check_names(recipe.arguments)
    _check_reporters(recipe)
    try:
        return CrossEncoderTrainingArguments(**_values(recipe, work))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"[arguments]: {error}; correct the value") from error


def _check_names(given: dict[str, Any]) -> None:
    known = {field.name for field in fields(CrossEncoderTrainingArguments) if field.init}
    for name in given:
        if name in OWN_KEYS:
            raise ConfigError(f"[arguments]: {name!r} is the recipe's own key {OWN_KEYS[name]!r}; set that instead")
        if name in FIXED:
            raise ConfigError(f"[arguments]: {name!r} cannot be set, {FIXED[name]}; remove it")
        if name not in known:
            raise ConfigError(f"[arguments]: unknown key {name!r}{did_you_mean(name, known)}; remove or correct it")


def _check_reporters(recipe: Recipe) -> None:
    available = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    for name in recipe.report_to:
        if name not in available:
            raise ConfigError(
                f"report_to: {name} is not installed here: pip install 'crossrank[{name}]', or leave it out"
            )


def _values(recipe: Recipe, work: Path) -> dict[str, Any]:
    every = recipe.evaluate_every or recipe.checkpoint_every
    values: dict[str, Any] = {
        "output_dir": str(work),
        "seed": recipe.seed,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "warmup_ratio": recipe.warmup,
        "max_grad_norm": recipe.clip,
        "num_train_epochs": recipe.epochs,
        "per_device_train_batch_size": recipe.batch_size,
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint_every,
        "save_total_limit": 2,
        "logging_steps": LOGGED_SHARE,
        "logging_nan_inf_filter": False,  # `StopWhereItDiverges` looks for them
        "report_to": list(recipe.report_to) or "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "use_cpu": not torch.accelerator.is_available(),  # else several processes would not know of each other there
    }
    if recipe.watched:
        values |= {"eval_strategy": "steps", "eval_steps": every}
    if recipe.keep_best:
        metric = PRIMARY_METRIC if recipe.best_metric is None else f"eval_{recipe.best_metric}"
        # The best model is kept as a checkpoint, so that each evaluation needs one; `Checkpoints` saves the others.
        values |= {"save_steps": every, "load_best_model_at_end": True, "metric_for_best_model": metric}
    return values | recipe.arguments
