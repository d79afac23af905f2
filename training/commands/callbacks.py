"""What a command does at the steps of the trainer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm
from transformers import TrainerCallback

from app.errors import ConfigError
from training.recipe_sections import MAIN_FIGURES
from training.util.distributed import get_world_size


class Checkpoints(TrainerCallback):
    """Saves every so many steps, and once more when the run is asked to stop, which it then does."""

    def __init__(self, every: int, requests: list[int]) -> None:
        self.every = every
        self.requests = requests
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Looks for a request, when the step in hand is done."""
        if state.global_step % self.every == 0:
            control.should_save = True
        if self._asked_to_stop(args.device):
            self.stopped = control.should_save = control.should_training_stop = True

    def _asked_to_stop(self, device: Any) -> bool:
        """Whether any process was: a signal need not reach all of them in the same step."""
        if get_world_size() == 1:
            return bool(self.requests)
        asked = torch.tensor(len(self.requests), device=device)
        distributed.all_reduce(asked)
        return bool(asked.item())


class Progress(TrainerCallback):
    """A progress bar with the loss of the last steps."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begins where an interrupted run stood."""
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step", mininterval=5)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One step on."""
        if self.bar is not None:
            self.bar.update()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Shows the loss; evaluations get a line of their own."""
        if self.bar is None or not logs:
            return
        if "loss" in logs:
            self.bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)
        figures = {key.removeprefix("eval_"): value for key, value in logs.items() if key.startswith("eval_")}
        if shown := [f"{key} {value:.4f}" for key, value in figures.items() if _is_told(key)]:
            self.bar.write(f"step {state.global_step}: {', '.join(shown)}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The bar stays as it is."""
        self.close()

    def close(self) -> None:
        """Ends the bar's line, so that what is said next begins one of its own."""
        if self.bar is not None:
            self.bar.close()


class StopWhereItDiverges(TrainerCallback):
    """Ends a run whose loss is no number any more: nothing that follows could be used."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Raises ConfigError; of several processes all do, since their mean is logged."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise ConfigError(
                f"training diverged: at step {state.global_step} the loss is {loss}; delete {args.output_dir}, lower "
                f"learning_rate (now {args.learning_rate:g}), and run the command again"
            )


def _is_told(figure: str) -> bool:
    """Whether a figure of an evaluation is shown beside the bar; the rest is in the log and the manifest."""
    return "base_" not in figure and ("@" in figure or figure.endswith(MAIN_FIGURES))
