"""Collects for the card what happens during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from training.cross_encoder.card import hyperparameters, logs
from training.cross_encoder.card.logs import TRAINING_LOSS


class ModelCardCallback(TrainerCallback):
    """Puts hyperparameters, losses, times and the best step into `model.model_card_data`.

    `default_args_dict` are the arguments to compare with; without it, the defaults of the arguments' own class.
    Metrics of evaluators come to the card from the evaluators themselves.
    """

    def __init__(self, default_args_dict: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.default_args_dict = default_args_dict

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if (card := _card_of(model)) is None:
            return
        card.begin_run()
        card.run.hyperparameters = hyperparameters.all_hyperparameters(args)
        card.run.non_default = hyperparameters.non_default(card.run.hyperparameters, args, self.default_args_dict)
        card.run.clock.start()
        if state.global_step > 0:  # resumed
            logs.replay(card.run.logs, state.log_history, card.run.primaries)

    def on_log(self, args: Any, state: Any, control: Any, model: Any = None, logs: Any = None, **_: Any) -> None:
        if (card := _card_of(model)) is not None and logs and "loss" in logs:
            card.add_log(state.epoch, state.global_step, {TRAINING_LOSS: logs["loss"]})

    def on_evaluate(
        self, args: Any, state: Any, control: Any, model: Any = None, metrics: Any = None, **_: Any
    ) -> None:
        if (card := _card_of(model)) is not None and metrics:
            card.run.clock.add_evaluation(float(metrics.get("eval_runtime", 0.0)))
            card.add_log(state.epoch, state.global_step, logs.losses_in(metrics))

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if (card := _card_of(model)) is None:
            return
        card.run.clock.stop()
        if args.load_best_model_at_end and state.best_model_checkpoint:
            card.set_best_model_step(_step_of(state))


CrossEncoderModelCardCallback = ModelCardCallback  # its name in sentence-transformers 6


def _step_of(state: Any) -> int:
    """transformers keeps the best step since 4.51; the directory's name carries it always."""
    step = getattr(state, "best_global_step", None)
    return int(step or str(state.best_model_checkpoint).rpartition("-")[2])


def _card_of(model: Any) -> Any:
    """The card of the model, or of the model inside a wrapper; None where it has none."""
    while model is not None and not hasattr(model, "model_card_data"):
        model = getattr(model, "module", None)
    return None if model is None else model.model_card_data
