"""From the data sets of a recipe to what the trainer takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Value, concatenate_datasets
from tqdm import tqdm

from app.errors import ConfigError
from training.commands.losses import LossFactory, loss_class, loss_factory
from training.commands.shapes import rows_for
from training.commands.sources import Kind, digests, kind_of
from training.cross_encoder.checks import check_data
from training.cross_encoder.columns import input_columns, label_column
from training.cross_encoder.row_errors import TrainingDataError
from training.data.pairs import Pair
from training.data.tables import load_table
from training.errors import DataError
from training.examples import Example, draw, mined_examples
from training.recipe import Dataset, Loss, Negatives, Recipe
from training.recipe_sections import Source
from training.util.distributed import get_rank


@dataclass(frozen=True, slots=True)
class Part:
    """A data set of the recipe, ready to train on. `sha256` has the digest of each of its files."""

    name: str
    kind: Kind
    rows: datasets.Dataset
    loss: Loss | None
    sha256: dict[str, str]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """One dataset with its loss, or several by name with as many losses by the same names."""

    rows: Any
    loss: LossFactory | dict[str, LossFactory]
    names: tuple[str, ...]


def load_parts(recipe: Recipe, model: Any = None) -> list[Part]:
    """All data sets. The same recipe gives the same rows. Raises DataError.

    With a `model` each table is checked as a whole, while its rows have the numbers that they have in its file.
    """
    parts = []
    for number, dataset in enumerate(tqdm(recipe.datasets, desc="data", unit="set", disable=get_rank() > 0)):
        rng = np.random.default_rng([recipe.seed, number])
        kind = kind_of(dataset, recipe.data_root)
        loss = dataset.loss or recipe.loss
        if kind == "table":
            rows = read_table(dataset, recipe.data_root)
            check_table(dataset, rows, loss, recipe.num_labels, model)
            rows = rows.select(draw(range(len(rows)), dataset.limit, rng)) if dataset.limit else rows
            rows = with_number_labels(rows, loss, recipe.num_labels, dataset.name)
        else:
            negatives = dataset.negatives or recipe.negatives
            found = examples_of(dataset, kind, recipe.data_root, negatives, rng)
            rows = rows_for(loss_class(loss, recipe.num_labels), found, negatives.count, dataset.name)
        parts.append(Part(dataset.name, kind, rows, loss, digests(dataset, recipe.data_root, rows)))
    return parts


def read_table(dataset: Source, root: Path) -> datasets.Dataset:
    """The rows of a table as the recipe asks for them."""
    connection = dataset.connection
    if connection is not None and "://" not in connection:
        connection = str(root / connection)
    source = dataset.path if dataset.is_on_hub else root / dataset.path
    columns = list(dataset.columns) if isinstance(dataset.columns, tuple) else dataset.columns
    return load_table(
        connection or source,
        format=dataset.format,
        # "train" is the recipe's default, and not the name of the only split of every saved dataset.
        split=dataset.split if "split" in dataset.model_fields_set else None,
        columns=columns,
        sql=dataset.sql,
        connection=connection,
    )


def check_table(dataset: Dataset, rows: datasets.Dataset, loss: Loss | None, num_labels: int, model: Any) -> None:
    """Raises DataError unless the loss takes these rows; it is asked once there is a `model` to make it for."""
    cls, label = loss_class(loss, num_labels), label_column(rows.column_names)
    scalar = label is not None and isinstance(rows.features[label], Value)  # lists are scores of what is in the row
    if cls.labels == "none" and scalar and len(input_columns(rows.column_names)) == 2:
        raise DataError(
            f"dataset {dataset.name!r}: {cls.__name__} takes the second text of every row for a right answer and would "
            f"not look at column {label!r}; leave the column out with `columns`, and wrong answers too"
        )
    if model is None:
        return
    words = f"dataset {dataset.name!r}" + (f" (split {dataset.split!r})" if "[" in dataset.split else "")
    try:
        check_data(rows, words, loss_factory(loss, num_labels)(model), num_labels)
    except TrainingDataError as error:
        raise DataError(
            f"{error} (in a recipe: `columns` chooses, orders and renames columns, num_labels is a key; rows are "
            "counted from 0 and mended in the file)"
        ) from error


def examples_of(
    dataset: Dataset, kind: Kind, root: Path, negatives: Negatives, rng: np.random.Generator
) -> list[Example]:
    """Queries with right and wrong documents. Raises DataError."""
    path = root / dataset.path
    if kind == "beir" and "[" in dataset.split:
        raise DataError(
            f"dataset {dataset.name!r}: split {dataset.split!r}: the judgments of a BEIR directory have no slices; "
            "name a split, and set `limit` to draw as many queries"
        )
    plain_lines = path.name.removesuffix(".gz").endswith(".jsonl") and not dataset.is_table
    pairs = None if kind == "beir" or plain_lines else pairs_of_table(dataset, root)
    found = mined_examples(dataset, path, negatives, rng, pairs)
    if not found:
        raise DataError(f"{path}: gives no example; check its judgments and the split {dataset.split!r}")
    return found


def pairs_of_table(dataset: Dataset, root: Path) -> list[Pair]:
    """Pairs from a table with the columns query, answer and perhaps label."""
    rows = read_table(dataset, root)
    for name in ("query", "answer"):
        if name not in rows.column_names:
            known = ", ".join(rows.column_names)
            raise DataError(f"dataset {dataset.name!r}: no column {name!r}, only {known}; map one to it with `columns`")
    pairs = []
    for number, row in enumerate(rows):
        query, answer, label = row["query"], row["answer"], row.get("label", 1)
        if not isinstance(query, str) or not isinstance(answer, str) or label not in (0, 1):
            raise DataError(
                f"dataset {dataset.name!r}, row {number}: needs texts in 'query' and 'answer' and a label of 0 or 1; "
                "correct the row"
            )
        pairs.append(Pair(query, answer, label == 1))
    return pairs


def with_number_labels(rows: datasets.Dataset, loss: Loss | None, num_labels: int, name: str) -> datasets.Dataset:
    """Whole numbers as floats where the loss takes any number, so that such sets can be mixed with others."""
    label = label_column(rows.column_names)
    scalar = loss_class(loss, num_labels).labels == "scalar"
    if (
        label is None
        or not scalar
        or not str(rows.features[label]).startswith(("Value('int", "Value('bool", "Value('u"))
    ):
        return rows
    try:
        return rows.cast_column(label, Value("float64"))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"dataset {name!r}, column {label!r}: a float has not all of its digits ({error}); scale the numbers, or "
            "write them as fractions"
        ) from error


def training_data(parts: Sequence[Part], recipe: Recipe) -> TrainingData:
    """What the trainer takes: sets of one loss and the same columns as one dataset, unless `mix` is false."""
    groups: dict[str, list[Part]] = {}
    for part in parts:
        loss = part.loss.model_dump() if part.loss else None
        key = json.dumps([loss, str(part.rows.features)]) if recipe.mix else part.name
        groups.setdefault(key, []).append(part)
    found = [("+".join(part.name for part in group), group) for group in groups.values()]
    rows = {name: concatenate_datasets([part.rows for part in group]) for name, group in found}
    losses = {name: loss_factory(group[0].loss, recipe.num_labels) for name, group in found}
    names = tuple(rows)
    if len(names) == 1:
        return TrainingData(rows[names[0]], losses[names[0]], names)
    return TrainingData(datasets.DatasetDict(rows), losses, names)


def check_by_name(recipe: Recipe, names: Sequence[str]) -> None:
    """Raises ConfigError for arguments by data set that name none of what is trained on as a set of its own."""
    known = set(names) if len(names) > 1 else set()
    for key in ("prompts", "dataset_weights"):
        given = recipe.arguments.get(key)
        wrong = sorted(set(given) - known) if isinstance(given, dict) else []
        if wrong:
            raise ConfigError(
                f"[arguments]: {key} names {wrong[0]!r}, but the sets that batches are taken from are "
                f"{', '.join(map(repr, names))}; correct the name, or set mix = false, which keeps all sets apart"
            )
    if recipe.arguments.get("dataset_temperature") not in (None, 1, 1.0) and len(names) < 2:
        raise ConfigError("[arguments]: dataset_temperature needs several sets apart; set mix = false, or remove it")


def sample_pairs(parts: Sequence[Part], seed: int, size: int = 512) -> list[tuple[str, str]]:
    """A random sample of the (query, document) pairs; of a list of documents the first."""
    origin = [(number, row) for number, part in enumerate(parts) for row in range(len(part.rows))]
    pairs = []
    for position in np.random.default_rng(seed).permutation(len(origin))[:size]:
        number, index = origin[position]
        row = parts[number].rows[index]
        names = input_columns(row)
        document = row[names[1]]
        pairs.append((str(row[names[0]]), str(document[0] if isinstance(document, list) else document)))
    return pairs
