"""Evaluates while the trainer runs, as `fit` always did: every so many steps and after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.cross_encoder.fitting.best import BestModel, primary_score


class FitEvaluation(TrainerCallback):
    """Runs the evaluator, logs its metrics as `eval_...`, calls the user's callback and keeps the best model.

    CSV files go to `output_path`/eval. The user's callback is given the score, the epoch and the number of steps.
    """

    def __init__(
        self,
        evaluator: Callable[..., Any],
        best: BestModel,
        output_path: str | Path | None,
        every_steps: int,
        callback: Callable[[float, float, int], None] | None,
    ) -> None:
        self.trainer: Trainer | None = None
        self.evaluator = evaluator
        self.best = best
        self.folder = None if output_path is None else Path(output_path) / "eval"
        self.every_steps = every_steps
        self.callback = callback
        self._evaluated_step = -1

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Evaluates after every `every_steps` steps, if that is more than 0."""
        if self.every_steps > 0 and state.global_step % self.every_steps == 0:
            self._evaluate(args, state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Evaluates after every epoch, unless its last step was evaluated just before."""
        if self._evaluated_step != state.global_step:
            self._evaluate(args, state, control)

    def _evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        assert self.trainer is not None, "fit sets the trainer before it trains"
        self._evaluated_step = state.global_step
        result = self._run(self.trainer.model, state)
        score = primary_score(self.evaluator, result)
        self._log(result if isinstance(result, dict) else {"evaluator": result}, args, state, control)
        if not state.is_world_process_zero:
            return
        if score is not None:
            self.best.offer(self.trainer.model, score)
            if self.callback is not None:
                self.callback(score, state.epoch, state.global_step)

    def _run(self, model: Any, state: TrainerState) -> Any:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        folder = None if self.folder is None else str(self.folder)
        was_training = model.training
        model.eval()
        try:
            return self.evaluator(model, output_path=folder, epoch=state.epoch, steps=state.global_step)
        finally:
            model.train(was_training)

    def _log(
        self, result: dict[str, Any], args: TrainingArguments, state: TrainerState, control: TrainerControl
    ) -> None:
        assert self.trainer is not None
        metrics = {name if name.startswith("eval_") else f"eval_{name}": value for name, value in result.items()}
        self.trainer.log(dict(metrics))
        self.trainer.callback_handler.on_evaluate(args, state, control, metrics)
