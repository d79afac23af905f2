"""Elements of arrays as compiled loops see them: int16 is the bits of bfloat16, other types are themselves."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from app.model.vnni.tiles import F32, I32, Builder, Value, placed

I16 = ir.IntType(16)
HALF, QUIET_NAN = 0x7FFF, 0x7FC0


@placed
def widen(_context: Any, value: Any) -> Any:
    """The number that an element of an array is."""

    def code(_: Any, builder: Builder, __: Any, arguments: Any) -> Any:
        if value != types.int16:
            return arguments[0]
        return builder.bitcast(builder.shl(builder.zext(arguments[0], I32), I32(16)), F32)

    return (types.float32 if value == types.int16 else value)(value), code


@placed
def narrow(_context: Any, value: Any, like: Any) -> Any:
    """A number as an element of an array that has `like` in it: bits of the nearest one, of two of the even one."""
    half = like == types.int16

    def code(_: Any, builder: Builder, __: Any, arguments: Any) -> Any:
        return _rounded(builder, arguments[0]) if half else arguments[0]

    return (like if half else value)(value, like), code


def _rounded(builder: Builder, value: Value) -> Value:
    bits = builder.bitcast(value, I32)
    odd = builder.and_(builder.lshr(bits, I32(16)), I32(1))
    rounded = builder.trunc(builder.lshr(builder.add(builder.add(bits, I32(HALF)), odd), I32(16)), I16)
    return builder.select(builder.fcmp_unordered("uno", value, value), I16(QUIET_NAN), rounded)
