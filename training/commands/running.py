"""The trainer of a recipe, from its newest checkpoint to its last step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from transformers import PrinterCallback
from transformers.trainer_callback import TrainerState

from app.errors import ConfigError
from training.commands.callbacks import Checkpoints, Progress
from training.commands.data import TrainingData
from training.commands.work import step_of
from training.cross_encoder import CrossEncoderTrainer
from training.cross_encoder.checkpoints import STATE_FILE, load_weights
from training.cross_encoder.model_card import ModelCardCallback
from training.errors import Interrupted
from training.interruption import stop_requests
from training.recipe import Recipe


def make_trainer(recipe: Recipe, model: Any, arguments: Any, data: TrainingData, evaluator: Any) -> CrossEncoderTrainer:
    """A trainer whose schedule ends where the recipe says. Raises ConfigError."""
    try:
        trainer = CrossEncoderTrainer(model, arguments, train_dataset=data.rows, loss=data.loss, evaluator=evaluator)
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"the recipe cannot be trained: {error}") from error
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress())
    trainer.args.max_steps = total_steps(trainer, recipe)
    return trainer


def total_steps(trainer: CrossEncoderTrainer, recipe: Recipe) -> int:
    """Optimiser steps of the whole run: at most `max_steps`, and never more than the epochs have."""
    batches = len(trainer.get_train_dataloader())
    steps: int = max(1, math.ceil(batches / trainer.args.gradient_accumulation_steps)) * recipe.epochs
    return steps if recipe.max_steps is None else min(steps, recipe.max_steps)


def run(trainer: CrossEncoderTrainer, recipe: Recipe, checkpoint: Path | None) -> TrainerState:
    """Trains to the last step and returns the story of the run. Raises Interrupted after Ctrl-C or SIGTERM."""
    if checkpoint is not None and step_of(checkpoint) >= trainer.args.max_steps:
        return finished(trainer, recipe, checkpoint)
    with stop_requests() as requests:
        checkpoints = Checkpoints(recipe.checkpoint_every, requests)
        trainer.add_callback(checkpoints)
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except KeyError as error:
            raise ConfigError(f"[arguments]: {error.args[0]}") from error
    if checkpoints.stopped:
        done, total = trainer.state.global_step, trainer.args.max_steps
        raise Interrupted(f"stopped after step {done} of {total}; run the same command to go on")
    state: TrainerState = trainer.state
    return state


def finished(trainer: CrossEncoderTrainer, recipe: Recipe, checkpoint: Path) -> TrainerState:
    """The state of a run that ended with `checkpoint`, before its model could be published."""
    state: TrainerState = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
    best = checkpoint.with_name(f"checkpoint-{state.best_global_step}")
    load_weights(trainer.model, best if recipe.keep_best and best.is_dir() else checkpoint)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, ModelCardCallback):
            callback.on_train_begin(trainer.args, state, trainer.control, model=trainer.model)
            callback.on_train_end(trainer.args, state, trainer.control, model=trainer.model)
    return state
