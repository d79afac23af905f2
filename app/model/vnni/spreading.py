"""Hadamard's matrix against outliers: a block's large numbers are spread over all of it before it is rounded.

One channel of a block that is ten times as large as the others costs them three of their eight bits. Multiplied by a
matrix of ones and minus ones no channel stands out, and weights multiplied by its inverse make the product what it was.
Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs".
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from app.model.types import FloatArray
from app.model.vnni.tiles import FLOATS, I64, INTS, LANES, Builder, Value, at, fused, placed

SIZE = 128
"""Numbers of a block: of those that 8 bits have at most. Narrower ones stay as they are."""
REGISTERS = SIZE // LANES


def spread(rows: NDArray[Any]) -> NDArray[Any]:
    """Every block of 128 columns times Hadamard's matrix, which is its own inverse but for a factor of 128."""
    blocks: NDArray[Any] = rows.reshape(-1, SIZE) @ hadamard()
    return blocks.reshape(rows.shape)


@cache
def hadamard() -> FloatArray:
    """Shape (128, 128), by Sylvester's construction."""
    found = np.ones((1, 1), np.float32)
    while len(found) < SIZE:
        found = np.block([[found, found], [found, -found]])
    return found


@placed
def spread_block(_context: Any, row: Any, result: Any) -> Any:
    """Writes 128 numbers times Hadamard's matrix to `result`: in seven rounds of sums and differences."""
    signature = types.void(types.intp, types.intp)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        row, result = arguments
        places = [I64(4 * LANES * number) for number in range(REGISTERS)]
        held = [builder.load(at(builder, builder.add(row, place), FLOATS), align=4) for place in places]
        span = 1
        while span < REGISTERS:
            held = [
                builder.fsub(held[i - span], held[i]) if i & span else builder.fadd(held[i], held[i + span])
                for i in range(REGISTERS)
            ]
            span *= 2
        for span in (1, 2, 4, 8):
            held = [_mixed(builder, value, span) for value in held]
        for place, value in zip(places, held, strict=True):
            builder.store(value, at(builder, builder.add(result, place), FLOATS), align=4)
        return context.get_dummy_value()

    return signature, code


def _mixed(builder: Builder, value: Value, span: int) -> Value:
    """Sums and differences of lanes that are `span` apart."""
    lanes = range(LANES)
    other = builder.shuffle_vector(
        value, ir.Constant(FLOATS, ir.Undefined), ir.Constant(INTS, [lane ^ span for lane in lanes])
    )
    signs = ir.Constant(FLOATS, [-1.0 if lane & span else 1.0 for lane in lanes])
    return fused(builder, value, signs, other)
