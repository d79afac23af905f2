"""A training recipe: one TOML file, read once, checked and frozen."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from app.errors import ConfigError
from training.recipe_sections import Dataset, EvaluationSet, Loss, Negatives, Section

__all__ = ["Dataset", "EvaluationSet", "Loss", "Negatives", "Recipe", "load_recipe"]


class Recipe(Section):
    """Everything that determines a training run.

    `max_length` counts tokens of a pair while training, `serving_max_length` is what the artifact declares;
    `batch_size` counts rows per optimiser step; `warmup` is the share of steps with a rising learning rate.
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
    seed: int = 0
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
    """Publishes the model of the best evaluation (mean nDCG@10 of these sets) in place of the last."""
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ()
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
        if (self.keep_best or self.evaluate_every) and not self.watched:
            key = "keep_best" if self.keep_best else "evaluate_every"
            raise ValueError(f"key {key!r} needs a set in [[evaluations]] with during = true; add one, or remove it")
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `path` after `key=value` overrides (dotted keys; values in TOML, or plain text).

    Raises ConfigError naming the key and the remedy.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path of the recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    for override in overrides:
        _override(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: write it as key=value, for example epochs=2 or datasets.0.limit=100")
    node: Any = data
    *parents, last = key.split(".")
    try:
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = _value(text)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"override {override!r}: the recipe has no {key!r}; see its sections and indices") from error


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word or path: quoting it in the shell would be a nuisance


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = {name for section in (Recipe, Dataset, EvaluationSet, Negatives) for name in section.model_fields}
        return f"unknown key {key!r}{did_you_mean(str(problem['loc'][-1]), known)}; remove it or correct its spelling"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"key {key!r} is missing; add it"
    return f"key {key!r}: {message}" if key else message


def did_you_mean(name: str, known: set[str]) -> str:
    """Words for the most similar of the `known` names, if one is similar."""
    close = get_close_matches(name, sorted(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
