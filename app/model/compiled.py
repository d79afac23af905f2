"""Functions compiled to machine code by Numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

Kernel = Callable[..., Any]
SETTINGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}
inlined: Callable[[Kernel], Kernel] = numba.njit(inline="always")
helper: Callable[[Kernel], Kernel] = numba.njit(**SETTINGS)
"""For functions that compiled ones call."""


def compiled(function: Kernel) -> Kernel:
    """`function` as machine code, which is kept on disk where there is a place for it. It lets go of the GIL."""
    try:
        kernel: Kernel = numba.njit(cache=True, **SETTINGS)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache
        kernel = numba.njit(**SETTINGS)(function)
    return kernel
