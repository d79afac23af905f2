"""The training loop: one step can be read from top to bottom."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm
from transformers import PreTrainedModel

from app.model.tokenizer import PairTokenizer
from app.model.types import Encoded
from training.batches import step_indices, sub_batches, total_steps
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.errors import Interrupted
from training.recipe import Recipe


@dataclass
class Trainer:
    """Fits `model` to `labels` (0.0 or 1.0, one per row) by binary cross-entropy on its single logit.

    A run with the same recipe goes on from `checkpoint_file` where that exists, bit for bit on a CPU.
    """

    model: PreTrainedModel
    tokenizer: PairTokenizer
    rows: Sequence[Encoded]
    labels: Sequence[float]
    recipe: Recipe
    checkpoint_file: Path
    fingerprint: str
    losses: list[float] = field(default_factory=list)
    """Mean loss of every finished step."""

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.lengths = [len(row) for row in self.rows]
        self.steps = total_steps(len(self.rows), recipe.batch_size, recipe.epochs, recipe.max_steps)
        self.optimizer = torch.optim.AdamW(
            _decay_groups(self.model, recipe.weight_decay), lr=recipe.learning_rate, fused=True
        )

    def run(self) -> list[float]:
        """Trains to the last step and returns the loss of each. Raises Interrupted after Ctrl-C or SIGTERM."""
        torch.manual_seed(self.recipe.seed)
        self._resume()
        self.model.train()
        progress = tqdm(total=self.steps, initial=len(self.losses), desc="train", unit="step", mininterval=5)
        with progress, _stop_requests() as stop:
            for step in range(len(self.losses), self.steps):
                self.losses.append(self._step(step))
                progress.set_postfix(loss=f"{_recent(self.losses):.4f}", refresh=False)
                progress.update()
                if stop or (step + 1) % self.recipe.checkpoint_every == 0:
                    self._save()
                if stop:
                    raise Interrupted(f"stopped after step {step + 1} of {self.steps}; run the same command to go on")
        self._save()
        return self.losses

    def _step(self, step: int) -> float:
        indices = step_indices(step, len(self.rows), self.recipe.batch_size, self.recipe.seed)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.steps, self.recipe)
        total = 0.0
        for batch in sub_batches(indices, self.lengths, self.recipe.sub_batch_tokens):
            loss = self._loss(batch) / len(indices)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def _loss(self, batch: Sequence[int]) -> torch.Tensor:
        """Sum over the rows, so that sub-batches of any size add up to the mean over the step."""
        inputs = {
            name: torch.from_numpy(array) for name, array in self.tokenizer.pad([self.rows[i] for i in batch]).items()
        }
        if not self.tokenizer.segments:
            del inputs["token_type_ids"]
        logits = self.model(**inputs).logits[:, 0].float()
        labels = torch.tensor([self.labels[i] for i in batch])
        return binary_cross_entropy_with_logits(logits, labels, reduction="sum")

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.checkpoint_file, self.fingerprint)
        if checkpoint is not None:
            self.model.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            torch.set_rng_state(checkpoint.rng)
            self.losses = list(checkpoint.losses)

    def _save(self) -> None:
        state = Checkpoint(
            self.fingerprint,
            len(self.losses),
            self.model.state_dict(),
            self.optimizer.state_dict(),
            torch.get_rng_state(),
            self.losses,
        )
        save_checkpoint(self.checkpoint_file, state)


def learning_rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Linear rise over the first `warmup` share of `steps`, then a linear fall to zero."""
    rising = max(1, round(recipe.warmup * steps))
    if step < rising:
        return recipe.learning_rate * (step + 1) / rising
    return recipe.learning_rate * (steps - step) / max(1, steps - rising)


def _decay_groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices only: on biases and layer norms it does harm."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _recent(losses: Sequence[float], window: int = 50) -> float:
    return sum(losses[-window:]) / len(losses[-window:])


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """A list that becomes non-empty on SIGINT or SIGTERM: the step in hand is finished before the run stops."""
    received: list[int] = []
    caught = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda got, frame: received.append(got)) for number in caught]
    try:
        yield received
    finally:
        for number, handler in zip(caught, before, strict=True):
            signal.signal(number, handler)
