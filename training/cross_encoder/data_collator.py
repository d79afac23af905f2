"""Rows of a dataset to the columns that a loss takes, tokenised in the process that loads the data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.cross_encoder.columns import DATASET_NAME, LABEL, LABEL_COLUMNS, PROMPT, TASK, label_column
from training.cross_encoder.encoding import PairEncoder, PromptedText
from training.cross_encoder.row_errors import RowError, first_problem
from training.cross_encoder.texts import TokenizedText

Row = Mapping[str, Any]


@dataclass
class CrossEncoderDataCollator:
    """Makes a batch: each input column a list, in the dataset's order, and "label".

    Labels of one number become a tensor (rows,), lists of numbers a list of tensors. With an `encoder` every text,
    those in lists too, becomes a `TokenizedText`, or a `PromptedText` in the first column where there is a prompt, so
    that a step finds them tokenised: it needs no model, so it works in DataLoader workers. Where the encoder makes no
    rows of the ids of two texts (chats, unusual templates), each text of the other columns becomes a `RowText` instead,
    with the row of the pair that it makes with the first column's. `tokenize` says for which
    datasets (by name) that is wanted, `checked` for which empty texts raise RowError. Prompts and tasks are one for
    all data or one per dataset; ValueError if they are given per column.
    """

    preprocess_fn: Callable[..., Any] | None = None
    """Accepted for scripts of sentence-transformers; tokenising is the encoder's work."""
    valid_label_columns: list[str] = field(default_factory=lambda: list(LABEL_COLUMNS))
    router_mapping: str | dict[str, Any] | None = None
    prompts: str | dict[str, Any] | None = None
    max_length: int | None = None
    encoder: PairEncoder | None = None
    tokenize: bool | dict[str, bool] = True
    checked: bool | dict[str, bool] = False

    def __post_init__(self) -> None:
        refuse_per_column("prompts", self.prompts)
        refuse_per_column("router_mapping", self.router_mapping)

    def __call__(self, features: list[Row]) -> dict[str, Any]:
        """The batch of these rows, which must have the same columns."""
        batch: dict[str, Any] = {}
        columns = [name for name in features[0] if name != DATASET_NAME]
        dataset = features[0].get(DATASET_NAME)
        if dataset is not None:
            batch[DATASET_NAME] = dataset
        if (name := label_column(columns, self.valid_label_columns)) is not None:
            columns.remove(name)
            batch[LABEL] = label_tensors(name, features)
        for key, mapping in ((PROMPT, self.prompts), (TASK, self.router_mapping)):
            if value := for_dataset(mapping, dataset):
                batch[key] = value
        inputs = {column: [row[column] for row in features] for column in columns}
        if for_dataset(self.checked, dataset):
            self._check(inputs, dataset)
        if self.encoder is not None and for_dataset(self.tokenize, dataset):
            make = tokenized if self.encoder.joins else with_rows
            inputs = make(self.encoder, inputs, batch.get(PROMPT))
        batch.update(inputs)
        return batch

    def _check(self, inputs: dict[str, list[Any]], dataset: str | None) -> None:
        for column, values in inputs.items():
            for i, value in enumerate(values):
                if problem := first_problem(value):
                    row = {name: texts[i] for name, texts in inputs.items()}
                    raise RowError(dataset, column, problem, row)


def for_dataset(mapping: Any, dataset: str | None) -> Any:
    """The value for one dataset: `mapping` itself unless it is a dictionary by dataset name."""
    if isinstance(mapping, dict):
        return mapping.get(dataset)
    return mapping


def refuse_per_column(name: str, mapping: Any) -> None:
    """Raises ValueError for a dictionary of dictionaries: the columns of a cross-encoder are read together."""
    if isinstance(mapping, dict) and any(isinstance(value, dict) for value in mapping.values()):
        raise ValueError(
            f"CrossEncoder {name} cannot be per-column, since columns are combined into pairs: give one text for all "
            "data or a dictionary from dataset name to text"
        )


def label_tensors(name: str, features: list[Row]) -> Tensor | list[Tensor]:
    """The labels: one tensor, or a list of tensors where each row has a list. Raises RowError for anything else."""
    values = [row[name] for row in features]
    try:
        if isinstance(values[0], Collection) and getattr(values[0], "ndim", 1) > 0:  # one number may be a tensor
            return [torch.as_tensor(value) for value in values]
        return torch.tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        wrong = next((row for row in features if not isinstance(row[name], int | float | list)), features[0])
        raise RowError(wrong.get(DATASET_NAME), name, f"is no label: {error}", wrong) from error


def tokenized(encoder: PairEncoder, inputs: dict[str, list[Any]], prompt: str | None = None) -> dict[str, list[Any]]:
    """The same columns with their texts tokenised, each distinct one once; other values stay.

    Those of the first column become `PromptedText` where a `prompt` will be put before them.
    """
    fronts = {name: prompt if prompt and i == 0 else "" for i, name in enumerate(inputs)}
    distinct = list(dict.fromkeys(fronts[name] + text for name in inputs for text in texts_in(inputs[name])))
    known = {text: TokenizedText(text, ids) for text, ids in zip(distinct, encoder.ids(distinct), strict=True)}
    return {name: with_tokens(values, known, fronts[name]) for name, values in inputs.items()}


def with_rows(encoder: PairEncoder, inputs: dict[str, list[Any]], prompt: str | None = None) -> dict[str, list[Any]]:
    """The same columns; texts of all but the first carry their row as pair with the text of the first column."""
    if not inputs:
        return inputs
    first, *others = inputs
    pairs = [
        (str(text), second)
        for name in others
        for text, values in zip(inputs[first], inputs[name], strict=True)
        for second in (texts_in([values]) if isinstance(text, str) else ())
    ]
    made = iter(encoder.with_rows(pairs, prompt))

    def replaced(text: Any, value: Any) -> Any:
        if isinstance(value, str):
            return next(made) if isinstance(text, str) else value
        return [replaced(text, entry) for entry in value] if isinstance(value, list | tuple) else value

    rows = {name: [replaced(*both) for both in zip(inputs[first], inputs[name], strict=True)] for name in others}
    return {first: inputs[first], **rows}


def texts_in(values: list[Any]) -> Iterator[str]:
    """The texts of a column, of those in lists too."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            yield from texts_in(list(value))


def with_tokens(values: list[Any], known: dict[str, TokenizedText], front: str) -> list[Any]:
    """`values` with every text replaced by its tokenised form, or by one with the tokens of `front` and text."""
    return [
        (PromptedText(value, known[front + value]) if front else known[value])
        if isinstance(value, str)
        else with_tokens(list(value), known, front)
        if isinstance(value, list | tuple)
        else value
        for value in values
    ]
