"""A DataLoader of `InputExample`s as a dataset with columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.input_example import InputExample

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


def read_batches(dataloader: Any) -> list[list[InputExample]]:
    """All batches of a loader, once."""
    with collated(dataloader, as_list):
        return [as_list(batch) for batch in dataloader]


def columns(examples: Sequence[InputExample], labelled: bool) -> dict[str, list[Any]]:
    """Columns `sentence_0`, `sentence_1`, ... and, if `labelled` or any label is not 0 (the default), `label`.

    ValueError if there is no example or the numbers of texts differ.
    """
    if not examples:
        raise ValueError("train_dataloader gave no examples: nothing to train on")
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
