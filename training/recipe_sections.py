"""The sections of a training recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

HUB_PREFIX = "hub:"


class Section(BaseModel):
    """A table of the recipe; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Negatives(Section):
    """Which wrong documents each query is shown.

    `bm25` takes them from the lexical ranks `skip` to `depth`, `random` from the whole corpus, `mixed` takes one
    of `count` at random and the rest from BM25, `judged` takes those that people marked as wrong.
    """

    kind: Literal["bm25", "random", "mixed", "judged"] = "mixed"
    count: int = Field(default=4, ge=0)
    skip: int = Field(default=0, ge=0)
    depth: int = Field(default=50, ge=1)


class Loss(BaseModel):
    """A loss of `training.cross_encoder.losses` by name; all other keys are its options.

    Activations and weighting schemes are written as names, or as tables with a `name` and options; "none" is None.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        from training.cross_encoder import losses

        names = [known for known in losses.__all__ if known.endswith("Loss") and known != "CrossEncoderLoss"]
        if name not in names:
            raise ValueError(f"no such loss: {name!r}; it must be one of {', '.join(sorted(names))}")
        return name

    @property
    def options(self) -> dict[str, Any]:
        """What the loss is made with, beside the model."""
        return dict(self.model_extra or {})


class Dataset(Section):
    """One training set.

    `kind` "beir" is a BEIR directory, "pairs" holds {query, answer[, label, split]}; both are shown with `negatives`.
    "table" is any table whose rows fit the loss as they are. Without `kind` it is what `path` looks like: a directory
    is BEIR unless `datasets` saved it, a file of JSON lines holds pairs, and everything else is a table, as is what
    has one of the keys `format`, `columns`, `sql` and `connection`; with `negatives` of its own such a table holds
    pairs. Paths begin at the recipe's `data_root`; a dataset of the Hub is written hub:owner/name.
    """

    name: str = Field(min_length=1)
    path: Path = Path()
    kind: Literal["beir", "pairs", "table"] | None = None
    split: str = "train"
    """Of a table also a slice: train[:1000]."""
    licence: str | None = None
    limit: int | None = Field(default=None, ge=1)
    """Most queries (of a table: rows) taken, drawn at random with the recipe's seed."""
    negatives: Negatives | None = None
    """In place of the recipe's own `negatives`."""
    loss: Loss | None = None
    """In place of the recipe's own `loss`."""
    format: str | None = None
    columns: tuple[str, ...] | dict[str, str] | None = None
    """Columns in the order that the loss takes them; as a mapping, old names to new ones."""
    sql: str | None = None
    connection: str | None = None
    """An SQLite file or the URL of a database."""

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.path == Path() and self.connection is None:
            raise ValueError("key 'path' is missing; name a file or directory, or a `connection` to a database")
        if self.kind == "beir" and self.is_table:
            raise ValueError("a BEIR directory has no `format`, `columns`, `sql` or `connection`; remove these keys")
        return self

    @property
    def is_table(self) -> bool:
        """Whether a key says so that only tables have."""
        given: Mapping[str, Any] = {"f": self.format, "c": self.columns, "s": self.sql, "db": self.connection}
        return self.is_on_hub or any(value is not None for value in given.values())

    @property
    def is_on_hub(self) -> bool:
        """Whether it comes from the Hugging Face Hub."""
        return str(self.path).startswith(HUB_PREFIX)


class EvaluationSet(Section):
    """One BEIR directory to rerank. `pool` names its candidate list; without one BM25's top `depth` are taken."""

    name: str
    path: Path
    split: str = "test"
    pool: Path | None = None
    depth: int = Field(default=100, ge=1)
    limit: int | None = Field(default=None, ge=1)
    """Most queries evaluated, drawn at random with the recipe's seed."""
    during: bool = False
    """Whether training measures it too, every `evaluate_every` steps."""
