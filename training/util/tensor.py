"""Tensors made of what users pass, and small operations on embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Matrix = TypeVar("Matrix", Tensor, np.ndarray)
Embeddings = Tensor | np.ndarray | Sequence[Any]  # what the similarity functions take


def float_tensor(values: Embeddings) -> Tensor:
    """A tensor of numbers, arrays or tensors; floats of less than 32 bits become float32.

    In half precision near scores would round to the same number.
    """
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(values) if values.flags.writeable else torch.tensor(values)
    elif not isinstance(values, Tensor):
        values = _stack(values)
    half = torch.is_floating_point(values) and torch.finfo(values.dtype).bits < 32
    return values.float() if half or values.is_sparse else values


def _stack(values: Sequence[Any]) -> Tensor:
    if values and all(isinstance(value, Tensor) for value in values):
        return torch.stack([value.float() if value.is_sparse else value for value in values])
    if values and all(isinstance(value, np.ndarray) for value in values):
        return torch.from_numpy(np.stack(values))
    return torch.tensor(values)


def rows(values: Embeddings) -> Tensor:
    """`float_tensor` with two dimensions: one embedding is a batch of one."""
    tensor = float_tensor(values)
    return tensor.unsqueeze(0) if tensor.dim() == 1 else tensor


def normalize_embeddings(embeddings: Tensor) -> Tensor:
    """The embeddings scaled to length 1 along the last dimension; zeros stay zeros. Sparse stays sparse."""
    if not embeddings.is_sparse:
        return torch.nn.functional.normalize(embeddings, dim=-1)
    lengths = (embeddings * embeddings).coalesce().to_dense().sum(dim=-1, keepdim=True).sqrt()
    embeddings = embeddings.coalesce()
    row = embeddings.indices()[0] if embeddings.dim() > 1 else torch.zeros_like(embeddings.indices()[0])
    values = embeddings.values() / lengths.reshape(-1)[row].clamp_min(1e-12)
    # the indices are those of a valid tensor; without a word about checks torch warns
    return torch.sparse_coo_tensor(
        embeddings.indices(), values, embeddings.shape, is_coalesced=True, check_invariants=False
    )


def truncate_embeddings(embeddings: Matrix, truncate_dim: int | None) -> Matrix:
    """The first `truncate_dim` numbers of each embedding; all of them if it is None."""
    return embeddings[..., :truncate_dim]


def batch_to_device(batch: dict[str, Any], target_device: torch.device | str) -> dict[str, Any]:
    """The same dictionary with its tensors on `target_device`."""
    for key, value in batch.items():
        if isinstance(value, Tensor):
            batch[key] = value.to(target_device)
    return batch
