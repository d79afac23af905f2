"""Passes over rows of float32 in whole registers: what LLVM's own vectoriser leaves half done.

Addresses are integers; rows have a multiple of 32 numbers.
"""

from __future__ import annotations

from math import pi
from typing import Any

from llvmlite import ir
from numba import types

from app.model.vnni.tile_size import COLUMNS, ROWS
from app.model.vnni.tiles import (
    F32,
    FLOATS,
    I32,
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
    rows_from,
    spread,
    vectors,
)

LOWEST = -3e38
LEAST_EXPONENT = -87.0
LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
"""Cephes, expf: e to the power of r is 1 + r + r * r times this polynomial, for |r| <= ln(2) / 2."""
ERF_STEP = 0.3275911
ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def _constant(value: float) -> Value:
    return ir.Constant(FLOATS, [value] * LANES)


def _call(builder: Builder, name: str, *arguments: Value) -> Value:
    return builder.call(function(builder, name, FLOATS, [FLOATS] * len(arguments)), arguments)


def _larger(builder: Builder, one: Value, other: Value) -> Value:
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _reduced(builder: Builder, value: Value, step: Any) -> Value:
    """All lanes of a vector taken together by `step`, halves first."""
    width = LANES
    while width > 1:
        width //= 2
        halves = [
            builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), ir.Constant(
                ir.VectorType(I32, width), list(range(first, first + width))))
            for first in (0, width)
        ]  # fmt: skip
        value = step(builder, *halves)
    return builder.extract_element(value, I32(0))


def _sum(builder: Builder, one: Value, other: Value) -> Value:
    return builder.fadd(one, other)


def _exp(builder: Builder, x: Value) -> Value:
    """e to the power of x <= 0, within 2e-7 of it."""
    x = _larger(builder, x, _constant(LEAST_EXPONENT))
    whole = _call(builder, "llvm.nearbyint.v16f32", builder.fmul(x, _constant(LOG2_E)))
    r = fused(builder, whole, _constant(-LN_2), x)
    p = _constant(EXP[0])
    for coefficient in EXP[1:]:
        p = fused(builder, p, r, _constant(coefficient))
    p = builder.fadd(fused(builder, builder.fmul(p, r), r, r), _constant(1.0))
    exponent = builder.add(builder.fptosi(whole, INTS), ir.Constant(INTS, [127] * LANES))
    return builder.fmul(p, builder.bitcast(builder.shl(exponent, ir.Constant(INTS, [23] * LANES)), FLOATS))


def _gelu(builder: Builder, x: Value) -> Value:
    """x times the normal distribution's share below x; erf within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    return builder.fmul(x, _normal(builder, x)[0])


def _normal(builder: Builder, x: Value) -> tuple[Value, Value]:
    """The normal distribution's share below x, and e to the power of -x * x / 2."""
    z = builder.fmul(_call(builder, "llvm.fabs.v16f32", x), _constant(0.5**0.5))
    t = builder.fdiv(_constant(1.0), fused(builder, z, _constant(ERF_STEP), _constant(1.0)))
    p = _constant(ERF[0])
    for coefficient in ERF[1:]:
        p = fused(builder, p, t, _constant(coefficient))
    tail = _exp(builder, builder.fmul(builder.fmul(z, z), _constant(-1.0)))
    above = builder.fmul(builder.fmul(builder.fmul(p, t), tail), _constant(0.5))
    below = builder.fsub(_constant(1.0), above)
    return builder.select(builder.fcmp_ordered(">=", x, _constant(0.0)), below, above), tail


@placed
def gelu_tile(_context: Any, tile: Any, step: Any) -> Any:
    """GELU of six rows of 32 numbers, `step` bytes apart, in place."""
    signature = types.void(types.intp, types.intp)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        def replace(row: Value, held: list[list[Value]]) -> list[list[Value]]:
            first = builder.add(arguments[0], builder.mul(row, arguments[1]))
            for part, value in zip(PARTS, vectors(builder, first, I64(0), FLOATS), strict=True):
                place = at(builder, builder.add(first, I64(4 * LANES * part)), FLOATS)
                builder.store(_gelu(builder, value), place, align=4)
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
                density = builder.fmul(tail, _constant((2 * pi) ** -0.5))
                product = builder.fmul(slope, fused(builder, value, density, share))
                builder.store(product, at(builder, builder.add(first, I64(4 * LANES * part)), FLOATS), align=4)
            return held

        repeat(builder, panels, [], write)
        return context.get_dummy_value()

    return signature, code


@placed
def softmax_tile(_context: Any, logits: Any, step: Any, length: Any, panels: Any, shares: Any) -> Any:
    """Turns six rows of logits into weights that want multiplying by one float32 of `shares` for each row.

    Rows have `length` numbers, and what fills `panels` times 32, which gets a weight of zero.
    """
    signature = types.void(*[types.intp] * 5)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        logits, step, length, panels, shares = arguments
        rows = rows_from(builder, logits, step)
        column = ir.Constant(INTS, list(range(LANES)))
        behind = spread(builder, builder.trunc(length, I32), INTS)

        def read(panel: Value, row: Value) -> list[Value]:
            found = []
            for part, value in zip(PARTS, vectors(builder, row, panel, FLOATS), strict=True):
                first = builder.trunc(builder.add(builder.mul(panel, I64(COLUMNS)), I64(part * LANES)), I32)
                place = builder.add(spread(builder, first, INTS), column)
                found.append(builder.select(builder.icmp_signed("<", place, behind), value, _constant(LOWEST)))
            return found

        def largest(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            return [
                [_larger(builder, new, old) for new, old in zip(read(panel, row), own, strict=True)]
                for row, own in zip(rows, held, strict=True)
            ]

        highest = [
            spread(builder, _reduced(builder, _larger(builder, *own), _larger), FLOATS)
            for own in repeat(builder, panels, [[_constant(LOWEST) for _ in PARTS]] * ROWS, largest)
        ]

        def weigh(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            sums = []
            for row, own, most in zip(rows, held, highest, strict=True):
                first = builder.add(row, builder.mul(panel, I64(4 * COLUMNS)))
                weights = [_exp(builder, builder.fsub(value, most)) for value in read(panel, row)]
                for part, weight in zip(PARTS, weights, strict=True):
                    builder.store(weight, at(builder, builder.add(first, I64(4 * LANES * part)), FLOATS), align=4)
                sums.append([builder.fadd(old, weight) for old, weight in zip(own, weights, strict=True)])
            return sums

        totals = repeat(builder, panels, [[_constant(0.0) for _ in PARTS]] * ROWS, weigh)
        for row, own in enumerate(totals):
            share = builder.fdiv(F32(1.0), _reduced(builder, builder.fadd(*own), _sum))
            builder.store(share, at(builder, builder.add(shares, I64(4 * row)), F32), align=4)
        return context.get_dummy_value()

    return signature, code


@placed
def extent(_context: Any, row: Any, panels: Any) -> Any:
    """The number of a row that is furthest from zero, without its sign, and the sum of the squares of all."""
    signature = types.UniTuple(types.float32, 2)(types.intp, types.intp)  # type: ignore[no-untyped-call]

    def code(context: Any, builder: Builder, signature: Any, arguments: Any) -> Any:
        row, panels = arguments

        def look(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            values = vectors(builder, row, panel, FLOATS)
            sizes = [_call(builder, "llvm.fabs.v16f32", value) for value in values]
            return [
                [_larger(builder, size, old) for size, old in zip(sizes, held[0], strict=True)],
                [fused(builder, value, value, old) for value, old in zip(values, held[1], strict=True)],
            ]

        most, squares = repeat(builder, panels, [[_constant(0.0) for _ in PARTS]] * 2, look)
        found = [_reduced(builder, _larger(builder, *most), _larger), _reduced(builder, builder.fadd(*squares), _sum)]
        return context.make_tuple(builder, signature.return_type, found)

    return signature, code


@placed
def to_numbers(_context: Any, row: Any, panels: Any, kind: Any, q: Any, factor: Any, shift: Any) -> Any:
    """Writes the numbers of a row times `factor` to `q` in the type of `kind`: integers are rounded, plus `shift`."""
    signature = types.void(types.intp, types.intp, kind, types.intp, types.float32, types.int32)
    plain = kind == types.float32
    narrow = FLOATS if plain else ir.VectorType(ir.IntType(kind.bitwidth), LANES)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        row, panels, _, q, factor, shift = arguments
        by, plus = spread(builder, factor, FLOATS), spread(builder, shift, INTS)
        size = kind.bitwidth // 8

        def write(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            first = builder.add(q, builder.mul(panel, I64(size * COLUMNS)))
            for part, value in zip(PARTS, vectors(builder, row, panel, FLOATS), strict=True):
                result = builder.fmul(value, by)
                if not plain:
                    whole = builder.fptosi(_call(builder, "llvm.nearbyint.v16f32", result), INTS)
                    result = builder.trunc(builder.add(whole, plus), narrow)
                builder.store(result, at(builder, builder.add(first, I64(size * LANES * part)), narrow), align=1)
            return held

        repeat(builder, panels, [], write)
        return context.get_dummy_value()

    return signature, code
