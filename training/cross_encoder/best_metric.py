"""Whether the metric that chooses the best model will exist, asked before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from training.evaluation.evaluator import known_metrics

TIMES = ("runtime", "samples_per_second", "steps_per_second")


def check_best_metric(args: Any, eval_dataset: Any, evaluator: Any, model: Any, *, is_open: bool = False) -> None:
    """Raises KeyError, naming the metrics there are, if `metric_for_best_model` will never be measured.

    Without this it comes up only after the first evaluation. With an evaluator of the user's own, whose keys are not
    known until it is called, only the loss is judged: with several evaluation datasets there is one per dataset, and
    no "eval_loss". Where it `is_open` what else will be measured, nothing is judged.
    """
    if is_open or not is_needed(args):
        return
    wanted = args.metric_for_best_model
    wanted = wanted if wanted.startswith("eval_") else f"eval_{wanted}"
    sets = [""] if not isinstance(eval_dataset, Mapping) else [f"{name}_" for name in eval_dataset]
    losses = [] if eval_dataset is None else [f"eval_{name}loss" for name in sets]
    measured = [] if evaluator is None else metrics_of(evaluator, model)
    main = getattr(evaluator, "primary_metric", None)
    if measured is None and (wanted != "eval_loss" or main == "loss"):
        return
    times = [f"eval_{name}{time}" for name in sets for time in TIMES]
    if wanted in [*losses, *times, *(measured or [])]:
        return
    known = [*losses, *([f"eval_{main}" if main else "those of the evaluator"] if measured is None else measured)]
    raise KeyError(
        f"metric_for_best_model={args.metric_for_best_model!r} asks for {wanted!r}, which no evaluation gives; "
        f"set it to one of: {', '.join(known)}"
    )


def metrics_of(evaluator: Any, model: Any) -> list[str] | None:
    """The metrics as the trainer calls them; None if they are not known before the evaluator is called."""
    names = known_metrics(evaluator, model)
    if names is None:
        return None
    return [name if name.startswith("eval_") else f"eval_{name}" for name in names or ["evaluator"]]


def adds_metrics(trainer: Any, own: type) -> bool:
    """Whether a subclass of `own`, the library's trainer, or a callback of the user's may measure more than it does."""
    methods = ("evaluate", "evaluation_loop", "prediction_step", "_evaluate")
    overridden = any(getattr(type(trainer), name) is not getattr(own, name) for name in methods)
    return overridden or any(
        type(callback).on_evaluate is not TrainerCallback.on_evaluate
        and not type(callback).__module__.startswith(("transformers.", "training."))
        for callback in trainer.callback_handler.callbacks
    )


def is_needed(args: Any) -> bool:
    """Whether evaluations choose a model or lower the learning rate."""
    if args.metric_for_best_model is None or args.eval_strategy == "no":
        return False
    by_metric = args.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy")
    return bool(args.load_best_model_at_end or args.save_strategy == SaveStrategy.BEST or by_metric)
