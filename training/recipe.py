"""A training recipe: one TOML file, read once, checked and frozen."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Negatives(_Section):
    """Which wrong documents each query is shown.

    `bm25` takes them from the lexical ranks `skip` to `depth`, `random` from the whole corpus, `mixed` takes one
    of `count` at random and the rest from BM25, `judged` takes those that people marked as wrong.
    """

    kind: Literal["bm25", "random", "mixed", "judged"] = "mixed"
    count: int = Field(default=4, ge=0)
    skip: int = Field(default=0, ge=0)
    depth: int = Field(default=50, ge=1)


class Dataset(_Section):
    """One training set. `path` is a BEIR directory, or a JSON-lines file of {query, answer[, label, split]}."""

    name: str
    path: Path
    split: str = "train"
    licence: str
    limit: int | None = Field(default=None, ge=1)
    """Most queries taken, drawn at random with the recipe's seed."""
    negatives: Negatives | None = None
    """In place of the recipe's own `negatives`."""


class EvaluationSet(_Section):
    """One BEIR directory to rerank. `pool` names its candidate list; without one BM25's top `depth` are taken."""

    name: str
    path: Path
    split: str = "test"
    pool: Path | None = None
    depth: int = Field(default=100, ge=1)
    limit: int | None = Field(default=None, ge=1)
    """Most queries evaluated, drawn at random with the recipe's seed."""


class Recipe(_Section):
    """Everything that determines a training run.

    `max_length` counts tokens of a pair while training, `serving_max_length` is what the artifact declares;
    `batch_size` counts pairs per optimiser step, which are computed in sub-batches of at most
    `sub_batch_tokens` padded tokens; `warmup` is the share of steps with a rising learning rate.
    """

    parent: str
    output: Path
    data_root: Path = Path()
    datasets: tuple[Dataset, ...] = Field(min_length=1)
    evaluations: tuple[EvaluationSet, ...] = ()
    negatives: Negatives = Negatives()
    seed: int = 0
    max_length: int = Field(default=256, ge=8)
    serving_max_length: int = Field(default=512, ge=8)
    batch_size: int = Field(default=32, ge=1)
    sub_batch_tokens: int = Field(default=1024, ge=8)
    learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    """In place of the parent's; 0 lets PyTorch use its fast attention kernels."""
    epochs: int = Field(default=1, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    """Ends training early; the learning rate then falls to zero at this step."""
    checkpoint_every: int = Field(default=100, ge=1)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `path` after `key=value` overrides (dotted keys; values in TOML, or plain text).

    Raises ConfigError naming the key and the remedy.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path of the recipe") from error
    except tomllib.TOMLDecodeError as error:
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
        return f"unknown key {key!r}; remove it or correct its spelling"
    return f"key {key!r}: {problem['msg']}"
