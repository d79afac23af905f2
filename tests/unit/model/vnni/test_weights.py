"""Rounding of weights, and the file that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.errors import ArtifactError
from app.model.vnni import kernels
from app.model.vnni.network import Scratch
from app.model.vnni.tile_size import ROWS
from app.model.vnni.weights import BLOCKS, LEVELS, ROOM, Shape, product, quantised, read, write

SHAPE = Shape(bits=16, heads=2, size=24, epsilon=1e-12, padding=1)
WIDTH = 384
SIZE = {bits: sizes[0] for bits, sizes in BLOCKS.items()}


def matrix(kind: str) -> np.ndarray:
    """Weights of 64 outputs and `WIDTH` inputs."""
    rng = np.random.default_rng(1)
    values = {
        "normal": rng.normal(size=(64, WIDTH)),
        "an outlier": rng.normal(size=(64, WIDTH)) + 50 * (np.arange(WIDTH) == 3),
        "all the same": np.ones((64, WIDTH)),
        "zero": np.zeros((64, WIDTH)),
    }
    return values[kind].astype(np.float32)


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("kind", ["normal", "an outlier", "all the same", "zero"])
def test_weights_are_rounded_by_half_a_step_at_most(kind: str, bits: int) -> None:
    """Each output has its own steps, for every block of inputs."""
    values = matrix(kind)
    integers, scales = quantised(values, bits)
    assert scales.shape == (64, WIDTH // SIZE[bits])
    assert np.abs(integers.astype(int)).max() <= LEVELS[bits]
    steps = np.repeat(scales, SIZE[bits], axis=1)
    assert (np.abs(integers * steps - values) <= 0.501 * steps).all()


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("kind", ["normal", "an outlier", "all the same"])
def test_no_sum_leaves_int32(kind: str, bits: int) -> None:
    """The worst that can happen is an input that lies exactly like the weights: the sum is of both norms."""
    values = matrix(kind)
    integers, scales = quantised(values, bits)
    layer = product(integers, scales, np.zeros(64, np.float32))
    x = np.concatenate([values[:30], -values[:30], np.zeros((ROWS, WIDTH), np.float32)])
    out = np.zeros((66, 64), np.float32)
    kind_of = np.int16 if bits == 16 else np.uint8
    empty = np.zeros(1, np.float32)
    q, s = np.zeros(66 * WIDTH, kind_of), np.zeros(66 * layer.blocks, np.float32)
    scratch = Scratch(q, q[:1], s, empty, empty, empty, empty, q.view(np.int16), empty)
    kernels._project(x, 60, layer, out, kernels.PLAIN, scratch)
    expected = x[:60].astype(float) @ values.T
    off = 1.01 * SIZE[16] ** 0.5 / ROOM if bits == 16 else 0.02  # half a step in each factor
    np.testing.assert_allclose(out[:60], expected, atol=np.abs(expected).max() * off)


def test_blocks_of_16_bits_have_room() -> None:
    integers, _ = quantised(matrix("all the same"), 16)
    norms = np.sqrt(np.square(integers.reshape(64, -1, SIZE[16]).astype(float)).sum(axis=2))
    assert norms.max() <= ROOM + 0.5 * SIZE[16] ** 0.5
    assert (ROOM + 0.5 * max(BLOCKS[16]) ** 0.5) ** 2 < 2**31


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    tensors = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.ones(2, np.float32)}
    write(tmp_path / "model.vnni", SHAPE, tensors)
    shape, found = read(tmp_path / "model.vnni")
    assert shape == SHAPE
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], tensors["a"])


@pytest.mark.parametrize("damage", ["cut", "text", "newer", "foreign"])
def test_a_file_that_is_none_is_refused(damage: str, tmp_path: Path) -> None:
    """Half-written, not a tensor file at all, of a later version, or another tensor file."""
    path = tmp_path / "model.vnni"
    write(path, SHAPE, {"a": np.ones(100, np.float32)})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "text":
        path.write_text("no model")
    else:
        notes = {"format": "2", "shape": json.dumps({})} if damage == "newer" else {"format": "pt"}
        save_file({"a": np.ones(3, np.float32)}, path, notes)
    with pytest.raises(ArtifactError, match=r"model\.vnni: .*export"):
        read(path)
