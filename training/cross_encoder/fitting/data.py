"""A DataLoader of `InputExample`s as a dataset with columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from training.cross_encoder.checks import RowChecks, row_checks
from training.cross_encoder.row_errors import TrainingDataError
from training.input_example import InputExample

WORDS = "training dataset"
"""How messages call the examples."""
NOTHING = "train_dataloader gave no examples: nothing to train on"
CHECKPOINTS = Path("checkpoints")


@contextmanager
def collated(dataloader: Any, collate: Callable[[list[InputExample]], Any]) -> Iterator[None]:
    """Lets the loader collate with `collate` meanwhile; the user's own function is put back in every case."""
    previous = getattr(dataloader, "collate_fn", None)
    dataloader.collate_fn = collate
    try:
        yield
    finally:
        dataloader.collate_fn = previous


def as_list(batch: Any) -> list[InputExample]:
    """The collate function that leaves examples alone; a loader without batches gives single ones."""
    return list(batch) if isinstance(batch, (list, tuple)) else [batch]


def check_loader(dataloader: Any) -> None:
    """Raises TypeError for what cannot be a loader: a list, or a generator."""
    if not hasattr(dataloader, "__dict__"):  # no collate function can be put on it
        raise TypeError(
            f"train_dataloader is a {type(dataloader).__name__}: give a torch.utils.data.DataLoader over a list of "
            "InputExample(texts=[...], label=...)"
        )


def examples_of(batch: Any) -> list[InputExample]:
    """The examples of a batch. Raises TrainingDataError for rows of another kind."""
    examples = as_list(batch)
    for example in examples:
        if not hasattr(example, "texts"):
            raise TrainingDataError(
                f"train_dataloader gives values of type {type(example).__name__}, not InputExample: make an "
                "InputExample(texts=[...], label=...) of each row, or train on a dataset with CrossEncoderTrainer"
            )
    return examples


def read_batches(dataloader: Any) -> list[list[InputExample]]:
    """All batches of a loader, once. Raises TypeError and TrainingDataError for other data."""
    check_loader(dataloader)
    with collated(dataloader, as_list):
        return [examples_of(batch) for batch in dataloader]


def columns(examples: Sequence[InputExample], labelled: bool) -> dict[str, list[Any]]:
    """Columns `sentence_0`, `sentence_1`, ... and, if `labelled` or any label is not 0 (the default), `label`.

    ValueError if there is no example or the numbers of texts differ.
    """
    if not examples:
        raise ValueError(NOTHING)
    width = len(examples[0].texts or ())
    for number, example in enumerate(examples):
        if len(example.texts or ()) != width:
            raise ValueError(
                f"example {number} of train_dataloader has {len(example.texts or ())} texts, the first one {width}: "
                f"all examples need the same number ({example!r})"
            )
    rows = [example.texts or () for example in examples]
    named: dict[str, list[Any]] = {f"sentence_{i}": [row[i] for row in rows] for i in range(width)}
    labels = [plain(example.label) for example in examples]
    if labelled or any(label != 0 for label in labels):
        named["label"] = labels
    return named


def as_dataset(examples: Sequence[InputExample], labelled: bool, loss: Any, num_labels: int) -> Dataset:
    """The `columns` as a dataset. Raises TrainingDataError for values of different kinds in one of them."""
    named = columns(examples, labelled)
    try:
        return Dataset.from_dict(named)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        check_examples(row_checks(loss, WORDS, num_labels), examples, 0)  # says which row it is
        raise


def check_examples(
    checks: RowChecks | None, examples: Sequence[InputExample], first: int, *, rounded: bool = False
) -> None:
    """Raises TrainingDataError, naming column and row, if one does not fit; they are counted from `first`.

    With `rounded` a class may be given as a float, such as 1.0.
    """
    if checks is None or not examples:
        return
    rows = [as_row(example) for example in examples]
    if rounded and checks.needs.labels == "class":
        rows = [{**row, "label": as_class(row["label"])} for row in rows]
    checks(rows, range(first, first + len(rows)))


def as_class(label: Any) -> Any:
    """A whole number as an integer; anything else as it is."""
    return int(label) if isinstance(label, float) and label.is_integer() else label


def as_row(example: InputExample) -> dict[str, Any]:
    """The example with the names of `columns`."""
    texts = {f"sentence_{i}": text for i, text in enumerate(example.texts or ())}
    return {**texts, "label": plain(example.label)}


def plain(label: Any) -> Any:
    """A label as Python numbers."""
    return label.tolist() if isinstance(label, (np.generic, np.ndarray, torch.Tensor)) else label


def batch_size(dataloader: Any, batches: Sequence[Sequence[InputExample]]) -> int:
    """The loader's batch size; a loader with a batch sampler of its own has none, then its largest batch."""
    size = getattr(dataloader, "batch_size", None)
    return int(size) if size else max(map(len, batches), default=1)


def checkpoint_dir() -> Path:
    """The first of `checkpoints/model`, `checkpoints/model_1`, ... that is missing or empty."""
    number = 0
    while True:
        folder = CHECKPOINTS / (f"model_{number}" if number else "model")
        if not folder.exists() or not any(folder.iterdir()):
            return folder
        number += 1
