"""How data loading workers start."""

from __future__ import annotations

import multiprocessing


def workers_are_spawned() -> bool:
    """Whether new processes import everything anew, asked without fixing the start method for later."""
    method = multiprocessing.get_start_method(allow_none=True)
    return (method or multiprocessing.get_all_start_methods()[0]) == "spawn"
