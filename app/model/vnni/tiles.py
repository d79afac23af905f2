"""Products of six rows with 32 columns, held in registers: vector code that Numba puts in place of a call.

Addresses are integers, steps between rows are bytes. LLVM makes of it what the processor has: with AVX-512 VNNI two
int16 (`vpdpwssd`) or four int8 (`vpdpbusd`) products per element and instruction, exact in int32.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from app.model.vnni.tile_size import COLUMNS, ROWS

LANES = 16
"""Numbers of 32 bits in a register."""
I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
INTS, FLOATS = ir.VectorType(I32, LANES), ir.VectorType(F32, LANES)
PARTS = range(COLUMNS // LANES)

Builder = Any
Value = Any
FUSED = ("contract",)
placed: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic
"""Puts LLVM code in place of calls of a function that returns its signature and what builds the code."""


def has_vnni() -> bool:
    """Whether this processor has the instructions, without which float32 is faster."""
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512vnni"))


def at(builder: Builder, address: Value, kind: Any) -> Value:
    return builder.inttoptr(address, kind.as_pointer())


def vectors(builder: Builder, address: Value, index: Value, kind: Any) -> list[Value]:
    """32 numbers, of those from `address` on the ones that come after `index` times as many."""
    first = builder.add(address, builder.mul(index, I64(4 * COLUMNS)))
    return [builder.load(at(builder, builder.add(first, I64(4 * LANES * part)), kind), align=4) for part in PARTS]


def number(builder: Builder, address: Value, index: Value, kind: Any) -> Value:
    """The number of 32 bits with that index."""
    return builder.load(at(builder, builder.add(address, builder.shl(index, I64(2))), kind), align=4)


def fused(builder: Builder, left: Value, right: Value, plus: Value) -> Value:
    return builder.fadd(plus, builder.fmul(left, right, flags=FUSED), flags=FUSED)


def _store(builder: Builder, values: list[list[Value]], address: Value, step: Value) -> None:
    for row, own in zip(rows_from(builder, address, step), values, strict=True):
        for part in PARTS:
            builder.store(own[part], at(builder, builder.add(row, I64(4 * LANES * part)), FLOATS), align=4)


def spread(builder: Builder, value: Value, kind: Any) -> Value:
    """A vector with `value` in every lane."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(INTS, [0] * LANES))


def repeat(
    builder: Builder, times: Value, initial: list[list[Value]], step: Callable[[Value, list[list[Value]]], Any]
) -> list[list[Value]]:
    """Registers for `ROWS` x `PARTS` after `times` (at least one) rounds of `step(round, registers)`."""
    entry, loop, done = builder.block, builder.append_basic_block("tile"), builder.append_basic_block("tile.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    count = builder.phi(I64)
    count.add_incoming(I64(0), entry)
    held = [[builder.phi(value.type) for value in row] for row in initial]
    changed = step(count, held)
    following, last = builder.add(count, I64(1)), builder.block
    count.add_incoming(following, last)
    for old, new, first in zip(*(chain.from_iterable(each) for each in (held, changed, initial)), strict=True):
        old.add_incoming(first, entry)
        old.add_incoming(new, last)
    builder.cbranch(builder.icmp_signed("<", following, times), loop, done)
    builder.position_at_end(done)
    return changed  # type: ignore[no-any-return]


def rows_from(builder: Builder, address: Value, step: Value) -> list[Value]:
    return [builder.add(address, builder.mul(step, I64(row))) for row in range(ROWS)]


def _products(
    builder: Builder, kind: Any, left: list[Value], right: list[Value], sums: list[list[Value]]
) -> list[list[Value]]:
    return [
        [_dot(builder, kind, old, one, other) for old, other in zip(own, right, strict=True)]
        for one, own in zip(left, sums, strict=True)
    ]


def _dot(builder: Builder, kind: Any, sums: Value, left: Value, right: Value) -> Value:
    """`sums` plus, per lane of 32 bits, the product of floats, of int16 pairs, or of uint8 with int8."""
    if kind == types.float32:
        return fused(builder, left, right, sums)
    pairs = kind == types.int16
    if not pairs and has_vnni():
        known = function(builder, "llvm.x86.avx512.vpdpbusd.512", INTS, [INTS] * 3)
        return builder.call(known, [sums, left, right])
    count = 2 if pairs else 4
    narrow, wide = ir.VectorType(ir.IntType(32 // count), LANES * count), ir.VectorType(I32, LANES * count)
    first = (builder.sext if pairs else builder.zext)(builder.bitcast(left, narrow), wide)
    products = builder.mul(first, builder.sext(builder.bitcast(right, narrow), wide))
    for part in range(count):
        places = ir.Constant(INTS, list(range(part, LANES * count, count)))
        sums = builder.add(sums, builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), places))
    return sums


def function(builder: Builder, name: str, result: Any, parameters: list[Any]) -> Any:
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, parameters), name)


@placed
def dot_tile(
    _context: Any, kind: Any, a: Any, a_step: Any, b: Any, steps: Any, blocks: Any, starts: Any, a_scales: Any,
    s_step: Any, b_scales: Any, bias: Any, held: Any, held_step: Any, c: Any, c_step: Any
) -> Any:  # fmt: skip
    """Makes `c` the products of numbers `a` and `b` times their scales, plus `bias` and `held`, which may be `c`.

    `kind`: any number of the type of `a`, int16, uint8 or float32, of which the scales are not looked at. The numbers
    come in `blocks` of `steps` lanes of 32 bits. `b`: for each step 32 lanes, one for a column. Of each block:
    `starts`, what its sums begin with, 32 int32; `a_scales`, one float32 for a row, rows `s_step` apart; `b_scales`, 32
    float32. `bias`: 32 float32, `held` and `c`: rows of as many.
    """
    signature = types.void(kind, *[types.intp] * 14)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        _, a, a_step, b, steps, blocks, starts, a_scales, s_step, b_scales, bias, held, held_step, c, c_step = arguments
        rows, scale_rows = rows_from(builder, a, a_step), rows_from(builder, a_scales, s_step)
        wide = FLOATS if kind == types.float32 else INTS
        first = vectors(builder, bias, I64(0), FLOATS)
        initial = [
            [builder.fadd(*pair) for pair in zip(vectors(builder, row, I64(0), FLOATS), first, strict=True)]
            for row in rows_from(builder, held, held_step)
        ]

        def add_products(place: Value, sums: list[list[Value]]) -> list[list[Value]]:
            right = vectors(builder, b, place, wide)
            left = [spread(builder, number(builder, row, place, wide.element), wide) for row in rows]
            return _products(builder, kind, left, right, sums)

        def add_block(block: Value, total: list[list[Value]]) -> list[list[Value]]:
            before = builder.mul(block, steps)
            start = vectors(builder, starts, block, INTS)
            sums = repeat(
                builder, steps, [start] * ROWS, lambda count, held: add_products(builder.add(before, count), held)
            )
            scales = vectors(builder, b_scales, block, FLOATS)
            factors = [spread(builder, number(builder, row, block, F32), FLOATS) for row in scale_rows]
            scaled = [
                [builder.fmul(builder.sitofp(value, FLOATS), factor) for value in own]
                for own, factor in zip(sums, factors, strict=True)
            ]
            return [
                [fused(builder, *each) for each in zip(own, scales, old, strict=True)]
                for own, old in zip(scaled, total, strict=True)
            ]

        if kind == types.float32:
            total = repeat(builder, builder.mul(blocks, steps), initial, add_products)
        else:
            total = repeat(builder, blocks, initial, add_block)
        _store(builder, total, c, c_step)
        return context.get_dummy_value()

    return signature, code


@placed
def float_tile(
    _context: Any, a: Any, a_step: Any, a_next: Any, b: Any, b_step: Any, steps: Any, start: Any, start_step: Any,
    c: Any, c_step: Any,
) -> Any:  # fmt: skip
    """Makes `c` the product of `a` and `b` plus `start`, all float32: six rows of 32 numbers.

    A row of `a` has `steps` numbers, `a_next` bytes apart, and `b` as many rows of 32.
    """
    signature = types.void(*[types.intp] * 10)

    def code(context: Any, builder: Builder, _: Any, arguments: Any) -> Any:
        a, a_step, a_next, b, b_step, steps, start, start_step, c, c_step = arguments
        rows = rows_from(builder, a, a_step)

        def step(count: Value, sums: list[list[Value]]) -> list[list[Value]]:
            right = vectors(builder, builder.add(b, builder.mul(count, b_step)), I64(0), FLOATS)
            place = builder.mul(count, a_next)
            left = [spread(builder, number(builder, builder.add(row, place), I64(0), F32), FLOATS) for row in rows]
            return _products(builder, types.float32, left, right, sums)

        initial = [vectors(builder, row, I64(0), FLOATS) for row in rows_from(builder, start, start_step)]
        _store(builder, repeat(builder, steps, initial, step), c, c_step)
        return context.get_dummy_value()

    return signature, code
