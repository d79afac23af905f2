"""Lists of documents of different lengths: flat for the model, padded with a mask for the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def check_lists(name: str, inputs: Sequence[Any], labels: Any) -> None:
    """ValueError unless `inputs` are queries and as many lists of texts, with as many labels in each list."""
    if isinstance(labels, Tensor) or labels is None or any(torch.as_tensor(row).ndim != 1 for row in labels):
        raise ValueError(
            f"{name} expects a list of labels for each sample, but got a single value for each sample: the column "
            "'labels' needs a list with one number for each document"
        )
    if len(inputs) != 2:
        raise ValueError(
            f"{name} expects two inputs (queries, documents_list), but got {len(inputs)} inputs: put the documents of "
            "a query into one column that holds a list"
        )
    queries, documents = inputs
    if any(isinstance(texts, str) for texts in documents):
        raise ValueError(f"{name} expects a list of documents for each query, but got a single text")
    lengths, label_counts = [len(texts) for texts in documents], [len(row) for row in labels]
    if lengths != label_counts or len(queries) != len(lengths):
        raise ValueError(
            f"Number of documents per query in inputs ({lengths}) does not match number of labels per query "
            f"({label_counts}) for {len(queries)} queries: each row needs one label for each document"
        )


def flatten_lists(queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Every (query, document) pair, query by query."""
    return [(query, text) for query, texts in zip(queries, documents, strict=True) for text in texts]


def pad_lists(values: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """`values` of shape (sum of lengths,) as (lists, longest list) with zeros as padding, and the mask of what is real.

    The result is one column wide even if all lists are empty.
    """
    sizes = torch.tensor(lengths, dtype=torch.long, device=values.device)
    width = max([1, *lengths])
    mask = torch.arange(width, device=values.device) < sizes[:, None]
    return values.new_zeros(mask.shape).masked_scatter(mask, values), mask
