"""What happens at the trainer's steps beside the training itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import distributed, nn
from transformers import TrainerCallback

from training.util.distributed import get_world_size


class LossParameters(TrainerCallback):
    """Parameters that belong to losses: `Trainer` clears and averages the gradients of the model's only."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        """Clears what was left over."""
        if optimizer is not None:
            optimizer.zero_grad()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Averages over the processes."""
        if get_world_size() > 1:
            average_gradients(self.trainer.loss_parameters().values())

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        """Clears for the next step."""
        if optimizer is not None:
            optimizer.zero_grad()


class EpochOfSampler(TrainerCallback):
    """Tells the batch sampler which epoch begins; `Trainer` does not reach it in a resumed run of many processes."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The epoch's number decides the order of its rows."""
        sampler = self.trainer.train_batch_sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(int(state.epoch or 0))


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean over all processes; one that has no gradient in this step counts as zero."""
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= get_world_size()
