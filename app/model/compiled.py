"""Functions compiled to machine code by Numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock, Timeout
from numba.core.caching import FunctionCache

from app.model.cpus import cpu_model

Kernel = Callable[..., Any]
SETTINGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}
TILES = Path(__file__).with_name("vnni")
"""Code that compiled functions of other directories call."""
LOCK_LIMIT_S = 60.0
inlined: Callable[[Kernel], Kernel] = numba.njit(inline="always")
helper: Callable[[Kernel], Kernel] = numba.njit(**SETTINGS)
"""For functions that compiled ones call."""


def compiled(function: Kernel) -> Kernel:
    """`function` as machine code, which is kept on disk where there is a place for it. It lets go of the GIL."""
    kernel: Kernel = numba.njit(**SETTINGS)(function)
    with suppress(RuntimeError):  # neither beside this file nor in the user's cache
        setattr(kernel, "_cache", _Cache(function))  # type: ignore[no-untyped-call]  # noqa: B010
    return kernel


def is_ready(kernel: Kernel, use: str) -> bool:
    """Whether `note_ready` was called for this use of a kernel: with the code of now, on a processor like this one."""
    mark = _mark(kernel, use)
    return mark is not None and mark.exists()


def note_ready(kernel: Kernel, use: str) -> None:
    """Notes, beside the machine code, that all of it that this use of a kernel needs is there."""
    mark = _mark(kernel, use)
    if mark is not None:
        with suppress(OSError):
            mark.touch()


def one_at_a_time(kernel: Kernel) -> AbstractContextManager[object]:
    """Lets one process at a time compile what a kernel needs; the others wait, and find it done."""
    kept = getattr(kernel, "_cache")  # noqa: B009
    if not isinstance(kept, _Cache):
        return nullcontext()
    Path(kept.cache_path).mkdir(parents=True, exist_ok=True)
    return FileLock(Path(kept.cache_path) / "compiling.lock")


def _mark(kernel: Kernel, use: str) -> Path | None:
    """The file that says so; None where machine code is not kept."""
    kept = getattr(kernel, "_cache")  # noqa: B009
    if not isinstance(kept, _Cache):
        return None
    state = (numba.__version__, cpu_model(), _sources(TILES))
    digest = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
    return Path(kept.cache_path) / f"{use}-{digest}.ready"


class _Cache(FunctionCache):
    """Machine code on disk that several processes may write at once, and that goes out of date with what it calls.

    Numba's own numbers files by an index that it reads, extends and writes: two processes that do so at the same time
    give two signatures one file, and the next process runs the code of the wrong one. It looks at the function's own
    file alone to see whether its code is still what the file says.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for a signature, None where there is none."""
        with self._locked() as locked:
            return super().load_overload(sig, target_context) if locked else None  # type: ignore[no-untyped-call]

    def save_overload(self, sig: Any, data: Any) -> None:
        """Writes the code for a signature, if that is possible."""
        with self._locked() as locked:
            if locked:
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        try:
            self._impl.locator.ensure_cache_path()
            lock = FileLock(Path(self.cache_path) / "numba.lock", timeout=LOCK_LIMIT_S)
            lock.acquire()
        except (Timeout, OSError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        own = super()._index_key(sig, codegen)  # type: ignore[no-untyped-call]
        return (*own, _sources(Path(self._py_func.__code__.co_filename).parent))


@cache
def _sources(directory: Path) -> str:
    """A digest of the code that a function in `directory` may be compiled with."""
    digest = hashlib.sha256()
    for path in sorted({*TILES.glob("*.py"), *directory.glob("*.py")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()
