"""GELU and its slope, of what lies in rows of float32."""

from __future__ import annotations

from math import erfc, pi
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from app.model.cpus import has_wide_registers
from app.model.types import FloatArray
from app.model.vnni.rows import LOG2_E, bits, call, constant, exp2, larger, split
from app.model.vnni.tile_size import COLUMNS, ROWS
from app.model.vnni.tiles import (
    FLOATS,
    I64,
    INTS,
    LANES,
    PARTS,
    Builder,
    Value,
    at,
    function,
    fused,
    placed,
    repeat,
    vectors,
)

RAISE = 0.17
"""GELU is nowhere lower than this below zero."""
FLAT = 4.8
"""Behind it, as far as integers go, the normal distribution is flat."""
ERF_STEP = 0.3275911
ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def _gelu(builder: Builder, x: Value) -> Value:
    """x times the normal distribution's share below x; erf within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    return builder.fmul(x, _normal(builder, x)[0])


def _quick_gelu(builder: Builder, x: Value) -> Value:
    """GELU within 8e-6, for what is rounded afterwards: x if it is positive, less a cubic of one of 16 pieces."""
    spot = fused(builder, call(builder, "llvm.fabs.v16f32", x), constant(LANES / FLAT), constant(-0.5))
    spot = builder.select(builder.fcmp_ordered("<", spot, constant(LANES - 0.5001)), spot, constant(LANES - 0.5001))
    r, whole = split(builder, spot)
    piece = bits(builder, whole)
    known = function(builder, "llvm.x86.avx512.permvar.sf.512", FLOATS, [FLOATS, INTS])
    p, *others = (builder.call(known, [ir.Constant(FLOATS, list(map(float, one))), piece]) for one in _pieces())
    for coefficient in others:
        p = fused(builder, p, r, coefficient)
    return builder.fsub(larger(builder, constant(0.0), x), p)


def _pieces() -> FloatArray:
    """Coefficients, shape (4, pieces), the highest power first, of what x / 2 * erfc(x / sqrt 2) is up to `FLAT`.

    A cubic is of the place in its piece, between -0.5 and 0.5, and right at Chebyshev's nodes.
    """
    nodes = np.cos(pi * (np.arange(4) + 0.5) / 4) / 2
    places = (np.arange(LANES)[:, None] + 0.5 + nodes) * FLAT / LANES
    values = [[x / 2 * erfc(x * 0.5**0.5) for x in own] for own in places]
    return np.linalg.solve(np.vander(nodes), np.transpose(values)).astype(np.float32)


def _normal(builder: Builder, x: Value) -> tuple[Value, Value]:
    """The normal distribution's share below x, and e to the power of -x * x / 2."""
    size = call(builder, "llvm.fabs.v16f32", x)
    divisor = fused(builder, size, constant(ERF_STEP * 0.5**0.5), constant(1.0))
    t = builder.fdiv(constant(1.0), divisor)
    p = constant(ERF[0] / 2)
    for coefficient in ERF[1:]:
        p = fused(builder, p, t, constant(coefficient / 2))
    tail = exp2(builder, builder.fmul(builder.fmul(x, x), constant(-LOG2_E / 2)))
    above = builder.fmul(builder.fmul(p, t), tail)
    below = builder.fsub(constant(1.0), above)
    return builder.select(builder.fcmp_ordered(">=", x, constant(0.0)), below, above), tail


@placed
def gelu_tile(_context: Any, kind: Any, tile: Any, step: Any) -> Any:
    """GELU of six rows of 32 numbers, `step` bytes apart, in place; as they are to be rounded to the type of `kind`.

    For uint8 it is raised by `RAISE`, so that no number is negative.
    """
    signature = types.void(kind, types.intp, types.intp)
    gelu = _quick_gelu if kind != types.float32 and has_wide_registers() else _gelu
    plus = RAISE if kind == types.uint8 else 0.0

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        def replace(row: Value, held: list[list[Value]]) -> list[list[Value]]:
            first = builder.add(arguments[1], builder.mul(row, arguments[2]))
            for part, value in zip(PARTS, vectors(builder, first, I64(0), FLOATS), strict=True):
                place = at(builder, builder.add(first, I64(4 * LANES * part)), FLOATS)
                builder.store(builder.fadd(gelu(builder, value), constant(plus)), place, align=4)
            return held

        repeat(builder, I64(ROWS), [], replace)
        return context.get_dummy_value()

    return signature, code


@placed
def gelu_slopes(_context: Any, x: Any, grad: Any, result: Any, panels: Any) -> Any:
    """Writes the numbers of `grad` times the slopes of GELU at those of `x`, `panels` times 32 of them, to `result`."""
    signature = types.void(*[types.intp] * 4)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        x, grad, result, panels = arguments

        def write(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            places, slopes = (vectors(builder, each, panel, FLOATS) for each in (x, grad))
            first = builder.add(result, builder.mul(panel, I64(4 * COLUMNS)))
            for part, value, slope in zip(PARTS, places, slopes, strict=True):
                share, tail = _normal(builder, value)
                density = builder.fmul(tail, constant((2 * pi) ** -0.5))
                product = builder.fmul(slope, fused(builder, value, density, share))
                builder.store(product, at(builder, builder.add(first, I64(4 * LANES * part)), FLOATS), align=4)
            return held

        repeat(builder, panels, [], write)
        return context.get_dummy_value()

    return signature, code
