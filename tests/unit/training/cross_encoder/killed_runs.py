"""Training runs of every sampler in processes that kill themselves, at a moment that a test draws."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import TrainerCallback

from tests.unit.training.cross_encoder.trainer_data import arguments, pairs
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.losses import BinaryCrossEntropyLoss, MultipleNegativesRankingLoss
from training.cross_encoder.packed import kernels  # noqa: F401 - imported late, which each process would do anew

STEPS = 7


@dataclass(frozen=True)
class Kill:
    """SIGKILL after that share of the function calls that a step makes, or of those that write its checkpoint."""

    step: int
    share: float
    saving: bool


class KillAt(TrainerCallback):
    """Counts the calls of the step before, to know how many there will be."""

    def __init__(self, kill: Kill) -> None:
        self.kill = kill
        self.calls = 0
        self.last: int | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.kill.saving:
            self.start(state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.kill.saving:
            self.start(state.global_step)
        elif self.last is None:
            sys.setprofile(None)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.kill.saving and self.last is None:
            sys.setprofile(None)

    def start(self, step: int) -> None:
        if step == self.kill.step:
            self.last = 1 + int(self.calls * self.kill.share)
        if step in (self.kill.step - 1, self.kill.step):
            self.calls = 0
            sys.setprofile(self.count)

    def count(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += 1
        if self.calls == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def repeated(rows: int) -> Dataset:
    """Texts that occur more than once, for the samplers that keep them apart."""
    data = pairs(rows).remove_columns("label").to_dict()
    return Dataset.from_dict({name: values[: rows // 2] * 2 for name, values in data.items()})


def two() -> DatasetDict:
    return DatasetDict(a=pairs(14), b=pairs(10, seed=1))


def case(name: str) -> tuple[Any, Any, dict[str, Any]]:
    """Data, loss and arguments of a sampler."""
    if name.startswith("no_duplicates"):
        return repeated(14), MultipleNegativesRankingLoss, {"batch_sampler": name}
    if name == "stream":
        return pairs(14).to_iterable_dataset().shuffle(seed=3, buffer_size=6), BinaryCrossEntropyLoss, {}
    if name == "temperature":
        return two(), BinaryCrossEntropyLoss, {"dataset_temperature": 3.0}
    if name == "weighted":
        weights = {"a": 3.0, "b": 1.0}
        return two(), BinaryCrossEntropyLoss, {"multi_dataset_batch_sampler": name, "dataset_weights": weights}
    if name in ("round_robin", "proportional"):
        return two(), BinaryCrossEntropyLoss, {"multi_dataset_batch_sampler": name}
    more = {"batch_tokens": 80} if name == "token_budget" else {}
    return pairs(14), BinaryCrossEntropyLoss, {"batch_sampler": name, **more}


def train(name: str, model_dir: str, output_dir: str, kill: Kill | None = None, resume: bool = False) -> None:
    """Trains with a checkpoint after each step; what comes to its end leaves the model in "final"."""
    data, loss, options = case(name)
    model = CrossEncoder(model_dir, device="cpu")
    args = arguments(
        Path(output_dir), max_steps=STEPS, save_strategy="steps", save_steps=1, save_total_limit=2, **options
    )
    callbacks = [] if kill is None else [KillAt(kill)]
    CrossEncoderTrainer(model, args, data, loss=loss(model), callbacks=callbacks).train(resume_from_checkpoint=resume)
    model.save_pretrained(str(Path(output_dir) / "final"), create_model_card=False)
