"""The sections of a training recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

HUB_PREFIX = "hub:"
FIGURES = {
    "reranking": ("ndcg@10", "mrr@10", "map"),
    "classification": ("average_precision", "accuracy", "f1", "precision", "recall"),
    "classes": ("f1_macro", "f1_micro", "f1_weighted"),
    "correlation": ("spearman", "pearson"),
}
"""What evaluation during training gives by kind of set, the main figure first; `classes` where there are several."""
MAIN_FIGURES = tuple(names[0] for names in FIGURES.values())


class Section(BaseModel):
    """A table of the recipe; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class Source(Section):
    """Where rows come from. Paths begin at the recipe's `data_root`; a dataset of the Hub is written hub:owner/name."""

    path: Path = Path()
    split: str
    limit: int | None = Field(default=None, ge=1)
    format: str | None = None
    columns: tuple[str, ...] | dict[str, str] | None = None
    """Columns in the order that they are taken in; as a mapping, old names to new ones."""
    sql: str | None = None
    connection: str | None = None
    """An SQLite file or the URL of a database."""

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.path == Path() and self.connection is None:
            raise ValueError("key 'path' is missing; name a file or directory, or a `connection` to a database")
        if self.path != Path() and self.connection is not None:
            raise ValueError("keys 'path' and 'connection' name two sources; remove one of them")
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


class Dataset(Source):
    """One training set.

    `kind` "beir" is a BEIR directory, "pairs" holds {query, answer[, label, split]}; both are shown with `negatives`,
    in the shape that the loss takes: labelled pairs, (query, positive, negatives) or lists.
    "table" is any table whose rows fit the loss as they are. Without `kind` it is what `path` looks like: a directory
    is BEIR unless `datasets` saved it, JSON lines with the keys query and answer are pairs (with scores or negatives
    beside them `kind` must be given), and everything else is a table, as is what has one of the keys `format`,
    `columns`, `sql` and `connection`; with `negatives` of its own such a table holds pairs. `split` may be a slice of a
    table or of pairs: train[:1000]. `limit` is the most queries (of a table: rows) taken, drawn at random with the
    recipe's seed.
    """

    name: str = Field(min_length=1)
    kind: Literal["beir", "pairs", "table"] | None = None
    split: str = "train"
    licence: str | None = None
    negatives: Negatives | None = None
    """In place of the recipe's own `negatives`."""
    loss: Loss | None = None
    """In place of the recipe's own `loss`."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if self.kind == "beir" and self.is_table:
            raise ValueError("a BEIR directory has no `format`, `columns`, `sql` or `connection`; remove these keys")
        return self


class EvaluationSet(Source):
    """What a model is measured on.

    `kind` "reranking" is a BEIR directory whose candidates are reranked: the best `depth` of the `first_stage`
    ("bm25", "dense:MODEL" or a run file), or those of the file `pool` in the order of the first stage. It may also be
    a table of lists, with the columns query, positive and negative (or documents), or query, a list of documents and
    a list of grades. "classification" and "correlation" are tables of two texts and a class or a score. Tables are
    measured during training only. `limit` is the most queries (of a table: rows), drawn with the recipe's seed.
    """

    name: str = Field(min_length=1)
    kind: Literal["reranking", "classification", "correlation"] = "reranking"
    split: str = "test"
    first_stage: str = "bm25"
    pool: Path | None = None
    depth: int = Field(default=100, ge=1)
    during: bool = False
    """Whether training measures it too, every `evaluate_every` steps."""

    @model_validator(mode="after")
    def _is_measured_somewhere(self) -> Self:
        if (self.kind != "reranking" or self.is_table) and not self.during:
            raise ValueError("tables and other kinds than reranking are measured by training only; add during = true")
        return self

    def figures(self, num_labels: int) -> tuple[str, ...]:
        """What is measured, the main figure first, as it is logged: the set's name, an underscore, the metric."""
        metrics = FIGURES["classes" if self.kind == "classification" and num_labels > 1 else self.kind]
        return tuple(f"{self.name}_{metric}" for metric in metrics)
