"""What a trainer takes as a dataset."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any


def check_kind(dataset: Any, words: str) -> None:
    """Raises TypeError unless it is one of the library `datasets`, ValueError if a training dataset has no rows.

    `words` name it in messages, as in "training dataset 'pairs'".
    """
    if not hasattr(dataset, "column_names"):
        raise TypeError(
            f"{words} is a {type(dataset).__name__}, whose rows have no named columns: give a datasets.Dataset, as in "
            "Dataset.from_list([{'query': ..., 'passage': ..., 'label': ...}])"
        )
    if words.startswith("training") and isinstance(dataset, Sized) and not len(dataset):
        raise ValueError(f"{words} is empty: there is nothing to train on; leave it out, or see how it was filtered")
