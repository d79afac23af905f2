"""A training recipe: one TOML file, read once, checked and frozen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from training.recipe_evaluations import check_best, check_evaluations
from training.recipe_files import read_recipe
from training.recipe_sections import Dataset, EvaluationSet, Loss, Negatives, Section

__all__ = ["Dataset", "EvaluationSet", "Loss", "Negatives", "Recipe", "load_recipe"]


class Recipe(Section):
    """Everything that determines a training run.

    `max_length` counts tokens of a pair while training, `serving_max_length` is what the artifact declares;
    `batch_size` counts rows per step of each process; `warmup` is the share of steps with a rising learning rate.
    """

    parent: str
    output: Path
    data_root: Path = Path()
    datasets: tuple[Dataset, ...] = Field(min_length=1)
    evaluations: tuple[EvaluationSet, ...] = ()
    negatives: Negatives = Negatives()
    loss: Loss | None = None
    """By default binary cross entropy for one label, cross entropy for several."""
    mix: bool = True
    """Shuffles sets of the same loss and columns together. False, or otherwise: each batch is of one set, and
    `multi_dataset_batch_sampler` of [arguments] says in which order they come."""
    num_labels: int = Field(default=1, ge=1)
    labels: tuple[str, ...] | None = None
    """Names of the labels, in the order of their class ids."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    max_length: int = Field(default=256, ge=8)
    serving_max_length: int = Field(default=512, ge=8)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    """In place of the parent's."""
    epochs: int = Field(default=1, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    """Ends training early; the learning rate then falls to zero at this step."""
    checkpoint_every: int = Field(default=100, ge=1)
    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations of the sets with `during = true`; by default as for checkpoints."""
    keep_best: bool = False
    """Publishes the model of the best evaluation in place of the last: by the mean nDCG@10 of these sets, or whatever
    the main figure of their kind is."""
    best_metric: str | None = None
    """The figure that `keep_best` goes by instead, as in "sts_pearson": needed where the sets are of several kinds."""
    report_to: tuple[Literal["codecarbon", "tensorboard", "wandb"], ...] = ()
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further fields of `CrossEncoderTrainingArguments`."""

    @property
    def watched(self) -> tuple[EvaluationSet, ...]:
        """The evaluation sets that are measured during training."""
        return tuple(one for one in self.evaluations if one.during)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [dataset.name for dataset in self.datasets]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two [[datasets]] have the name {twice!r}; give each one of its own")
        if self.labels is not None and len(self.labels) != self.num_labels:
            raise ValueError(f"key 'labels' names {len(self.labels)}, but num_labels is {self.num_labels}; correct one")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("key 'labels' names one twice; give each class a name of its own")
        if (self.keep_best or self.evaluate_every) and not self.watched:
            key = "keep_best" if self.keep_best else "evaluate_every"
            raise ValueError(f"key {key!r} needs a set in [[evaluations]] with during = true; add one, or remove it")
        check_evaluations(self.evaluations, self.num_labels)
        check_best(self.watched, self.num_labels, self.keep_best, self.best_metric)
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `path` after `key=value` overrides (dotted keys; values in TOML, or plain text).

    Raises ConfigError naming the key and the remedy.
    """
    return read_recipe(path, overrides, Recipe)
