"""Passes over rows of float32 in whole registers: what LLVM's own vectoriser leaves half done.

Addresses are integers; rows have a multiple of 32 numbers.
"""

from __future__ import annotations

from collections.abc import Callable
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
LINE_BYTES = 64
"""What memory gives at a time."""
LEAST_EXPONENT, EXPONENT_BIAS = -126.0, 127.0
LOG2_E = 1.4426950408889634
ROUNDING = 1.5 * 2.0**23
"""A float32 of which the last bit is 1: what is added to it is rounded to an integer, which its last bits then are."""
EXP2 = (1.5345812e-4, 1.3399931e-3, 9.6184890e-3, 5.5503288e-2, 0.24022647, 0.69314721, 1.0)
"""2 to the power of r for |r| <= 1 / 2, to a share of 2e-9: the polynomial of degree 6 whose largest error is least."""


def constant(value: float) -> Value:
    return ir.Constant(FLOATS, [value] * LANES)


def call(builder: Builder, name: str, *arguments: Value) -> Value:
    return builder.call(function(builder, name, FLOATS, [FLOATS] * len(arguments)), arguments)


def larger(builder: Builder, one: Value, other: Value) -> Value:
    """The larger of two numbers; `other` where one of them is none."""
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


def split(builder: Builder, x: Value) -> tuple[Value, Value]:
    """What rounding takes from numbers, and the integers that it gives, still as floats."""
    whole = call(builder, "llvm.nearbyint.v16f32", x)
    return builder.fsub(x, whole), whole


def bits(builder: Builder, whole: Value, plus: float = 0.0) -> Value:
    """Integers whose last 22 bits are those of whole numbers, plus another."""
    return builder.bitcast(builder.fadd(whole, constant(ROUNDING + plus)), INTS)


def exp2(builder: Builder, x: Value) -> Value:
    """2 to the power of x <= 0, to a share of 2e-7; of the least normal number where it would be smaller."""
    x = larger(builder, constant(LEAST_EXPONENT), x)
    r, whole = split(builder, x)
    p = constant(EXP2[0])
    for coefficient in EXP2[1:]:
        p = fused(builder, p, r, constant(coefficient))
    biased = bits(builder, whole, EXPONENT_BIAS)  # of what was rounded once: a tie might fall otherwise the next time
    return builder.fmul(p, builder.bitcast(builder.shl(biased, ir.Constant(INTS, [23] * LANES)), FLOATS))


@placed
def softmax_tile(_context: Any, logits: Any, step: Any, length: Any, panels: Any, shares: Any) -> Any:
    """Turns six rows of logits into weights that want multiplying by one float32 of `shares` for each row.

    Rows have `length` numbers, and what fills `panels` times 32, which gets a weight of next to nothing.
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
                found.append(builder.select(builder.icmp_signed("<", place, behind), value, constant(LOWEST)))
            return found

        def largest(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            return [
                [larger(builder, new, old) for new, old in zip(read(panel, row), own, strict=True)]
                for row, own in zip(rows, held, strict=True)
            ]

        found = repeat(builder, panels, [[constant(LOWEST) for _ in PARTS]] * ROWS, largest)
        highest = [spread(builder, _reduced(builder, larger(builder, *own), larger), FLOATS) for own in found]

        def weigh(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            sums = []
            for row, own, most in zip(rows, held, highest, strict=True):
                first = builder.add(row, builder.mul(panel, I64(4 * COLUMNS)))
                # First the difference, which is never over zero: a rounded product might be.
                below = [builder.fsub(value, most) for value in read(panel, row)]
                weights = [exp2(builder, builder.fmul(value, constant(LOG2_E))) for value in below]
                for part, weight in zip(PARTS, weights, strict=True):
                    builder.store(weight, at(builder, builder.add(first, I64(4 * LANES * part)), FLOATS), align=4)
                sums.append([builder.fadd(old, weight) for old, weight in zip(own, weights, strict=True)])
            return sums

        totals = repeat(builder, panels, [[constant(0.0) for _ in PARTS]] * ROWS, weigh)
        for row, own in enumerate(totals):
            share = builder.fdiv(F32(1.0), _reduced(builder, builder.fadd(*own), _sum))
            builder.store(share, at(builder, builder.add(shares, I64(4 * row)), F32), align=4)
        return context.get_dummy_value()

    return signature, code


def _extents(builder: Builder, rounds: Value, read: Callable[[Value], list[Value]]) -> list[list[Value]]:
    """In each lane of what is read in `rounds`: the largest size, and the sum of the squares."""

    def look(place: Value, held: list[list[Value]]) -> list[list[Value]]:
        values = read(place)
        sizes = [call(builder, "llvm.fabs.v16f32", value) for value in values]
        return [
            [larger(builder, size, old) for size, old in zip(sizes, held[0], strict=True)],
            [fused(builder, value, value, old) for value, old in zip(values, held[1], strict=True)],
        ]

    return repeat(builder, rounds, [[constant(0.0) for _ in PARTS]] * 2, look)


@placed
def extent(_context: Any, row: Any, panels: Any) -> Any:
    """The number of a row that is furthest from zero, without its sign, and the sum of the squares of all."""
    signature = types.UniTuple(types.float32, 2)(types.intp, types.intp)  # type: ignore[no-untyped-call]

    def code(context: Any, builder: Builder, signature: Any, arguments: Any) -> Any:
        row, panels = arguments

        most, squares = _extents(builder, panels, lambda panel: vectors(builder, row, panel, FLOATS))
        found = [_reduced(builder, larger(builder, *most), larger), _reduced(builder, builder.fadd(*squares), _sum)]
        return context.make_tuple(builder, signature.return_type, found)

    return signature, code


@placed
def column_extents(_context: Any, rows: Any, step: Any, count: Any, most: Any, squares: Any) -> Any:
    """Writes the largest sizes of 32 columns of `count` rows to `most`, and the sums of their squares to `squares`."""
    signature = types.void(*[types.intp] * 5)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        rows, step, count, *results = arguments

        def row(place: Value) -> list[Value]:
            return vectors(builder, builder.add(rows, builder.mul(place, step)), I64(0), FLOATS)

        found = _extents(builder, count, row)
        for target, own in zip(results, found, strict=True):
            for part, value in zip(PARTS, own, strict=True):
                builder.store(value, at(builder, builder.add(target, I64(4 * LANES * part)), FLOATS), align=4)
        return context.get_dummy_value()

    return signature, code


@placed
def to_pairs(_context: Any, rows: Any, step: Any, pairs: Any, factors: Any, result: Any) -> Any:
    """Writes 32 columns of pairs of rows, times `factors`, as int16: a column's two beside each other."""
    signature = types.void(*[types.intp] * 5)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        rows, step, pairs, factors, result = arguments
        by = vectors(builder, factors, I64(0), FLOATS)
        low, above = (ir.Constant(INTS, [number] * LANES) for number in (0xFFFF, 16))

        def write(pair: Value, held: list[list[Value]]) -> list[list[Value]]:
            first = builder.add(rows, builder.mul(builder.add(pair, pair), step))
            both = (vectors(builder, row, I64(0), FLOATS) for row in (first, builder.add(first, step)))
            for part, factor, *own in zip(PARTS, by, *both, strict=True):
                one, other = (builder.bitcast(fused(builder, value, factor, constant(ROUNDING)), INTS) for value in own)
                joined = builder.or_(builder.and_(one, low), builder.shl(other, above))
                place = builder.add(builder.add(result, builder.mul(pair, I64(4 * COLUMNS))), I64(4 * LANES * part))
                builder.store(joined, at(builder, place, INTS), align=4)
            return held

        repeat(builder, pairs, [], write)
        return context.get_dummy_value()

    return signature, code


@placed
def to_numbers(_context: Any, row: Any, panels: Any, kind: Any, q: Any, factor: Any, shift: Any) -> Any:
    """Writes the numbers of a row times `factor` to `q` in the type of `kind`: integers are rounded, plus `shift`."""
    signature = types.void(types.intp, types.intp, kind, types.intp, types.float32, types.int32)
    plain = kind == types.float32
    narrow = FLOATS if plain else ir.VectorType(ir.IntType(kind.bitwidth), LANES)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        row, panels, _, q, factor, shift = arguments
        by = spread(builder, factor, FLOATS)
        plus = builder.fadd(spread(builder, builder.sitofp(shift, F32), FLOATS), constant(ROUNDING))
        size = kind.bitwidth // 8

        def write(panel: Value, held: list[list[Value]]) -> list[list[Value]]:
            first = builder.add(q, builder.mul(panel, I64(size * COLUMNS)))
            for part, value in zip(PARTS, vectors(builder, row, panel, FLOATS), strict=True):
                if plain:
                    result = builder.fmul(value, by)
                else:
                    result = builder.trunc(builder.bitcast(fused(builder, value, by, plus), INTS), narrow)
                builder.store(result, at(builder, builder.add(first, I64(size * LANES * part)), narrow), align=1)
            return held

        repeat(builder, panels, [], write)
        return context.get_dummy_value()

    return signature, code


@placed
def fetch(_context: Any, address: Any, count: Any) -> Any:
    """Asks for so many bytes, which are read soon, to be brought to the core's cache."""
    signature = types.void(types.intp, types.intp)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        address, count = arguments
        place = ir.IntType(8).as_pointer()
        known = function(builder, "llvm.prefetch.p0", ir.VoidType(), [place, I32, I32, I32])
        how = (I32(0), I32(2), I32(1))  # for reading, to the second cache, of data

        def ask(line: Value, held: list[list[Value]]) -> list[list[Value]]:
            first = builder.add(address, builder.mul(line, I64(LINE_BYTES)))
            builder.call(known, [builder.inttoptr(first, place), *how])
            return held

        repeat(builder, builder.udiv(builder.add(count, I64(LINE_BYTES - 1)), I64(LINE_BYTES)), [], ask)
        return context.get_dummy_value()

    return signature, code
