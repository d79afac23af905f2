"""The trainer of a recipe, from its newest checkpoint to its last step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from transformers import PrinterCallback
from transformers.trainer_callback import TrainerState

from app.errors import ConfigError, RerankerError
from training.commands.callbacks import Checkpoints, Progress, StopWhereItDiverges
from training.commands.data import TrainingData
from training.commands.work import step_of
from training.cross_encoder import CrossEncoderTrainer
from training.cross_encoder.checkpoints import STATE_FILE, load_weights
from training.cross_encoder.model_card import ModelCardCallback
from training.errors import Interrupted
from training.interruption import stop_requests
from training.recipe import Loss, Recipe

UNREADABLE = (SafetensorError, UnpicklingError, EOFError, JSONDecodeError)
"""What readers of a checkpoint's files raise for half of one."""
WRITERS = ("PytorchStreamWriter", "inline_container")
"""Parts of PyTorch that name themselves where a file cannot be written; the error is a plain RuntimeError."""


def make_trainer(recipe: Recipe, model: Any, arguments: Any, data: TrainingData, evaluator: Any) -> CrossEncoderTrainer:
    """A trainer whose schedule ends where the recipe says. Raises ConfigError."""
    with explained(recipe):
        trainer = CrossEncoderTrainer(model, arguments, train_dataset=data.rows, loss=data.loss, evaluator=evaluator)
        trainer.args.max_steps = total_steps(trainer, recipe)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(StopWhereItDiverges())
    return trainer


@contextmanager
def explained(
    recipe: Recipe, trainer: CrossEncoderTrainer | None = None, checkpoint: Path | None = None
) -> Iterator[None]:
    """Raises ConfigError for what goes wrong before the first step has ended, as far as it is the user's to mend.

    What no schema describes are options of the loss and the trainer's arguments: PyTorch, accelerate and others have
    errors of all kinds for them. A checkpoint may be cut off. Files that cannot be used, and other processes that
    ended, have errors of their own.
    """
    done = 0 if checkpoint is None else step_of(checkpoint)
    try:
        yield
    except (RerankerError, OSError):
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        if (trainer is not None and trainer.state.global_step > done) or "gloo" in words or "nccl" in words.lower():
            raise
        if checkpoint is not None:
            if not isinstance(error, UNREADABLE) and "PytorchStreamReader" not in words:
                raise
            raise ConfigError(
                f"{checkpoint}: cannot be gone on from ({words}); delete it to go on from the one before, or "
                f"{checkpoint.parent} to start anew"
            ) from error
        free = [f"[{name}]" for name, given in (("arguments", recipe.arguments), ("loss", _losses(recipe))) if given]
        if not free and not (trainer is None and isinstance(error, TypeError | ValueError | ImportError)):
            raise
        advice = f"; correct what is wrong in {' or '.join(free)}" if free else ""
        raise ConfigError(f"the recipe cannot be trained: {words}{advice}") from error


def _losses(recipe: Recipe) -> list[Loss]:
    return [loss for loss in (recipe.loss, *(one.loss for one in recipe.datasets)) if loss and loss.options]


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
        checkpoints, progress = Checkpoints(recipe.checkpoint_every, requests), Progress()
        trainer.add_callback(checkpoints)
        trainer.add_callback(progress)
        try:
            with explained(recipe, trainer, checkpoint):
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except KeyError as error:
            raise ConfigError(f"[arguments]: {error.args[0]}") from error
        except (SafetensorError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(name in str(error) for name in WRITERS):
                raise
            raise ConfigError(
                f"{trainer.args.output_dir}: a checkpoint cannot be written ({error}); make room, and run the same "
                "command again"
            ) from error
        finally:
            progress.close()
    if checkpoints.stopped:
        done, total = trainer.state.global_step, trainer.args.max_steps
        raise Interrupted(f"stopped after step {done} of {total}; run the same command to go on")
    state: TrainerState = trainer.state
    return state


def finished(trainer: CrossEncoderTrainer, recipe: Recipe, checkpoint: Path) -> TrainerState:
    """The state of a run that ended with `checkpoint`, before its model could be published."""
    state: TrainerState = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
    best = checkpoint.with_name(f"checkpoint-{state.best_global_step}")
    with explained(recipe, trainer, checkpoint):
        load_weights(trainer.model, best if recipe.keep_best and best.is_dir() else checkpoint)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, ModelCardCallback):
            callback.on_train_begin(trainer.args, state, trainer.control, model=trainer.model)
            callback.on_train_end(trainer.args, state, trainer.control, model=trainer.model)
    return state
