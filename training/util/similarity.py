"""Similarities of embeddings: between all rows of two batches, and of rows pairwise.

Distances are negated, so more is always more similar. Arguments are tensors (dense or sparse), arrays or lists; one
embedding counts as a batch of one. Results are dense tensors: (rows of a, rows of b), or (rows,) for `pairwise_*`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor

from training.util.tensor import Embeddings, float_tensor, normalize_embeddings, rows

Similarity = Callable[[Embeddings, Embeddings], Tensor]


def cos_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Cosine of the angle between each row of `a` and each row of `b`."""
    return _products(normalize_embeddings(rows(a)), normalize_embeddings(rows(b)))


pytorch_cos_sim = cos_sim  # its name before 2021


def dot_score(a: Embeddings, b: Embeddings) -> Tensor:
    """Dot product of each row of `a` and each row of `b`."""
    return _products(rows(a), rows(b))


def _products(a: Tensor, b: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # the product of two sparse tensors passes through a format that torch calls beta
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        return torch.mm(a, b.t()).to_dense()


def euclidean_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated Euclidean distance between each row of `a` and each row of `b`."""
    return -torch.cdist(rows(a).to_dense(), rows(b).to_dense(), p=2.0)


def manhattan_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated sum of absolute differences between each row of `a` and each row of `b`."""
    return -torch.cdist(rows(a).to_dense(), rows(b).to_dense(), p=1.0)


def pairwise_cos_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Cosine of the angle between row i of `a` and row i of `b`."""
    return pairwise_dot_score(normalize_embeddings(float_tensor(a)), normalize_embeddings(float_tensor(b)))


def pairwise_dot_score(a: Embeddings, b: Embeddings) -> Tensor:
    """Dot product of row i of `a` and row i of `b`."""
    return (float_tensor(a) * float_tensor(b)).to_dense().sum(dim=-1)


def pairwise_euclidean_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated Euclidean distance between row i of `a` and row i of `b`."""
    return -(float_tensor(a).to_dense() - float_tensor(b).to_dense()).square().sum(dim=-1).sqrt()


def pairwise_manhattan_sim(a: Embeddings, b: Embeddings) -> Tensor:
    """Negated sum of absolute differences between row i of `a` and row i of `b`."""
    return -(float_tensor(a).to_dense() - float_tensor(b).to_dense()).abs().sum(dim=-1)


def pairwise_angle_sim(x: Embeddings, y: Embeddings) -> Tensor:
    """Angle similarity of row i of `x` and row i of `y` (AnglE, arXiv 2309.12871).

    With rows of length 1, read as complex numbers whose real parts are the first half: |sum(re + im of x * conj(y))|.
    """
    first, second = (normalize_embeddings(float_tensor(value).to_dense()) for value in (x, y))
    if first.shape[-1] % 2:  # the halves must be equally long
        first, second = (torch.nn.functional.pad(value, (0, 1)) for value in (first, second))
    (a, b), (c, d) = first.chunk(2, dim=-1), second.chunk(2, dim=-1)
    return (a * c + b * d + b * c - a * d).sum(dim=-1).abs()


class SimilarityFunction(Enum):
    """The similarity functions by name."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"

    @staticmethod
    def to_similarity_fn(similarity_function: str | SimilarityFunction) -> Similarity:
        """The function between all rows; ValueError for an unknown name."""
        return _FUNCTIONS[SimilarityFunction(similarity_function)][0]

    @staticmethod
    def to_similarity_pairwise_fn(similarity_function: str | SimilarityFunction) -> Similarity:
        """The pairwise function; ValueError for an unknown name."""
        return _FUNCTIONS[SimilarityFunction(similarity_function)][1]

    @staticmethod
    def possible_values() -> list[str]:
        """The names."""
        return [member.value for member in SimilarityFunction]


_FUNCTIONS: dict[SimilarityFunction, tuple[Similarity, Similarity]] = {
    SimilarityFunction.COSINE: (cos_sim, pairwise_cos_sim),
    SimilarityFunction.DOT_PRODUCT: (dot_score, pairwise_dot_score),
    SimilarityFunction.EUCLIDEAN: (euclidean_sim, pairwise_euclidean_sim),
    SimilarityFunction.MANHATTAN: (manhattan_sim, pairwise_manhattan_sim),
}
