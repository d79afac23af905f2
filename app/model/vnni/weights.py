"""The file of a model: its matrices, as they are or as integers with scales, and their layout for the kernels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from app.errors import ArtifactError
from app.model.messages import first_line
from app.model.types import FloatArray

FORMAT = 1
COLUMNS = 32
"""Widths are padded to multiples of it."""
BLOCKS = {32: (128, 96, 64, 32), 16: (96, 64, 32), 8: (128, 96, 64, 32)}
"""Columns of a matrix that share a scale: the first that divides its width. A sum of products of int16 has to stay in
int32, so more of them cost precision, and one outlier spoils those of int8; more blocks cost time. In float32 a block
is but what is computed at a time."""
LEVELS = {16: 32767, 8: 127}
TYPES: dict[int, type[np.generic]] = {32: np.float32, 16: np.int16, 8: np.int8}
ROOM = 46320
"""Norm of a block of int16: the product of two such blocks, however they lie, stays in int32. Rounding included."""
Limits = tuple[np.float32, np.int32, np.float32, bool]
"""Of the integers that rows become: the largest, what is added to make them fit their type, the largest norm of a
block; 0 where numbers stay as they are. At last, whether blocks are spread before."""
LIMITS: dict[int, Limits] = {
    32: (np.float32(0), np.int32(0), np.float32(1), False),
    16: (np.float32(LEVELS[16]), np.int32(0), np.float32(ROOM), False),
    8: (np.float32(LEVELS[8]), np.int32(128), np.float32(1e30), False),
}
RAISED: Limits = (np.float32(255), np.int32(0), np.float32(1e30), False)
"""Of numbers that are not negative."""
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the tensors do not say themselves. `padding` is RoBERTa's padding index, behind which positions begin."""

    bits: int
    heads: int
    size: int
    """Columns of a head, without those that pad it."""
    epsilon: float
    padding: int | None = None
    spread: bool = False
    """Whether the inputs of queries, keys and values and of the wide layer are spread: their weights are, already."""


class Product(NamedTuple):
    """A linear layer as the kernels take it.

    `weights`: shape (panels of 32 columns, blocks, steps, 32, numbers in 32 bits); `factors` and `starts`: (panels,
    blocks, 32); `bias`: (columns,). `limits` are of the integers that the other factor becomes.
    """

    weights: NDArray[Any]
    factors: FloatArray
    starts: NDArray[np.int32]
    bias: FloatArray
    limits: Limits

    @property
    def outputs(self) -> int:
        """Columns of the result, padding included."""
        return len(self.bias)

    @property
    def inputs(self) -> int:
        """Columns of what is multiplied, padding included."""
        _, blocks, steps, _, each = self.weights.shape
        return int(blocks * steps * each)

    @property
    def blocks(self) -> int:
        """Scales of a row."""
        return int(self.weights.shape[1])


def padded(width: int) -> int:
    """`width` rounded up to whole panels."""
    return -(-width // COLUMNS) * COLUMNS


def block_size(inputs: int, bits: int) -> int:
    """Columns of a matrix of so many inputs that share a scale."""
    return next(size for size in BLOCKS[bits] if inputs % size == 0)


def quantised(matrix: FloatArray, bits: int) -> tuple[NDArray[Any], FloatArray]:
    """`matrix`, shape (outputs, inputs), in `bits`, and the scales of each output's blocks: (outputs, blocks)."""
    outputs, inputs = matrix.shape
    size = block_size(inputs, bits)
    if bits == 32:
        return matrix, np.ones((outputs, inputs // size), np.float32)
    blocks = matrix.reshape(outputs, inputs // size, size)
    scales = np.maximum(np.abs(blocks).max(axis=2), np.float32(1e-30)) / np.float32(LEVELS[bits])
    if bits == 16:
        scales = np.maximum(scales, np.sqrt(np.square(blocks).sum(axis=2)) / np.float32(ROOM))
    integers = np.rint(blocks / scales[..., None]).astype(TYPES[bits])
    return integers.reshape(outputs, inputs), scales


def product(
    integers: NDArray[Any], scales: FloatArray, bias: FloatArray, *, raised: float = 0.0, spread: bool = False
) -> Product:
    """The layout of what `quantised` gave. Bytes that are multiplied by it stand for numbers `raised` by so much, or
    for blocks that have been `spread`.
    """
    (outputs, inputs), blocks = integers.shape, scales.shape[1]
    each = 4 // integers.itemsize
    panels, size, limits = outputs // COLUMNS, inputs // blocks, LIMITS[8 * integers.itemsize]
    layout = integers.reshape(panels, COLUMNS, blocks, size // each, each).transpose(0, 2, 3, 1, 4)
    starts = np.zeros(scales.shape, np.int32)
    if each == 4:  # the other factor is a byte without sign
        sums = integers.reshape(outputs, blocks, size).sum(axis=2, dtype=np.int32)
        if raised:
            limits, bias = RAISED, bias - np.float32(raised) * (sums * scales).sum(axis=1)
        else:
            starts = -limits[1] * sums
    return Product(
        np.ascontiguousarray(layout),
        _by_panel(scales),
        _by_panel(starts),
        bias.astype(np.float32),
        (*limits[:3], spread),
    )


def _by_panel(values: NDArray[Any]) -> NDArray[Any]:
    """(outputs, blocks) to (panels, blocks, 32)."""
    return np.ascontiguousarray(values.reshape(-1, COLUMNS, values.shape[1]).transpose(0, 2, 1))


def write(path: Path, shape: Shape, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Writes a file that `read` reads."""
    save_file(dict(tensors), path, {"format": str(FORMAT), "shape": json.dumps(asdict(shape))})


def bits_of(path: Path) -> int:
    """Bits of the numbers that the model in a file multiplies, without reading them. Raises ArtifactError."""
    with _opened(path) as (_, shape):
        return shape.bits


def read(path: Path) -> tuple[Shape, Tensors]:
    """What `write` wrote. Raises ArtifactError, also where a number of it is infinite or none at all."""
    with _opened(path) as (file, shape):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    require_finite(path, tensors)
    return shape, tensors


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Shape]]:
    """A file of this format, and its shape. Raises ArtifactError, also for what fails while it is read."""
    try:
        with safe_open(path, framework="numpy") as file:
            notes = file.metadata() or {}
            if notes.get("format") != str(FORMAT):
                raise ArtifactError(f"{path}: format {notes.get('format')}, this version reads {FORMAT}; export again")
            yield file, Shape(**json.loads(notes["shape"]))
    except ArtifactError:
        raise
    except Exception as error:  # safetensors has its own, which is no public name
        raise ArtifactError(f"{path}: cannot be read ({first_line(error)}); export the model again") from error


def require_finite(source: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Raises ArtifactError with the first of the tensors that holds an infinite number or none at all."""
    # The kernels would make finite scores of some: an activation is rounded to the largest integer there is.
    for name, values in tensors.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ArtifactError(f"{source}: {name} holds numbers that are not finite; use other weights")
