"""Hadamard's matrix in registers, against SciPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from scipy.linalg import hadamard

from app.model.vnni import kernels
from app.model.vnni.network import Scratch
from app.model.vnni.spreading import SIZE, spread, spread_block
from app.model.vnni.tile_size import ROWS
from app.model.vnni.weights import product, quantised


@njit
def run(values: Any, result: Any) -> None:
    spread_block(values.ctypes.data, result.ctypes.data)


def test_a_block_is_multiplied_by_hadamard_s_matrix() -> None:
    values, result = np.random.default_rng(0).normal(size=SIZE).astype(np.float32), np.zeros(SIZE, np.float32)
    run(values, result)
    np.testing.assert_allclose(result, values @ hadamard(SIZE), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(spread(values), result, rtol=1e-5, atol=1e-4)


def test_spreading_twice_is_a_factor() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 2 * SIZE)).astype(np.float32)
    np.testing.assert_allclose(spread(spread(rows)), SIZE * rows, rtol=1e-4, atol=1e-3)


def test_an_outlier_spoils_no_product() -> None:
    """In 8 bits, with what is multiplied spread over its block: without, a hundred times as large a number does."""
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(60, 3 * SIZE)).astype(np.float32), rng.normal(size=(64, 3 * SIZE)).astype(np.float32)
    x[:, 5] += 100
    expected = x.astype(float) @ weights.T

    def off(*, spread_too: bool) -> float:
        integers, scales = quantised(spread(weights) / np.float32(SIZE) if spread_too else weights, 8)
        layer = product(integers, scales, np.zeros(64, np.float32), spread=spread_too)
        q, s = np.zeros(66 * 3 * SIZE, np.uint8), np.zeros(66 * layer.blocks, np.float32)
        empty, out = np.zeros(1, np.float32), np.zeros((66, 64), np.float32)
        scratch = Scratch(q, q[:1], s, empty, empty, empty, empty, q.view(np.int16), empty)
        kernels._project(np.pad(x, ((0, ROWS), (0, 0))), 60, layer, out, kernels.PLAIN, scratch)
        return float(np.abs(out[:60] - expected).mean())

    assert off(spread_too=True) < 0.3 * off(spread_too=False)
