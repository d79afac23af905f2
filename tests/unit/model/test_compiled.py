"""Machine code on disk, which other processes write and read at the same time."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from app.model import compiled as compiling

FUNCTIONS = 3
KINDS = ("int16", "float32", "uint8")
SOURCE = "from app.model.compiled import compiled\n" + "".join(
    f"\n\n@compiled\ndef add{i}(values, result):\n"
    f"    for j in range(len(values)):\n        result[0] += values[j] + {i}\n"
    for i in range(FUNCTIONS)
)
PROGRAM = f"""
import sys, time, numpy as np
from numba.core.caching import IndexDataCacheFile
sys.path.insert(0, sys.argv[1])
import kernels
save = IndexDataCacheFile._save_index
IndexDataCacheFile._save_index = lambda *arguments: (time.sleep(0.3), save(*arguments))  # others have time to interfere
values, result = np.arange(9).astype(sys.argv[2]), np.zeros(1)
kernels.add0.py_func(values, result)
time.sleep(max(0, float(sys.argv[3]) - time.time()))
found = []
for i in range({FUNCTIONS}):
    result[0] = 0
    getattr(kernels, f"add{{i}}")(values, result)
    found.append(result[0])
print(*found)
"""


def results(directory: Path, *kinds: str, start: float = 0) -> list[str]:
    """What processes print that use the functions of `directory`, all at once, each with numbers of one kind."""
    command = [sys.executable, "-c", PROGRAM, str(directory)]
    running = [subprocess.Popen([*command, kind, str(start)], stdout=subprocess.PIPE, text=True) for kind in kinds]
    return [process.communicate(timeout=120)[0].strip() for process in running]


def test_processes_that_compile_at_once_do_not_mix_up_each_other_s_code(tmp_path: Path) -> None:
    """Numba's own cache gave several signatures one file: the next process computed int16 with code for float32."""
    (tmp_path / "kernels.py").write_text(SOURCE)
    expected = " ".join(str(float(36 + 9 * i)) for i in range(FUNCTIONS))
    assert results(tmp_path, *KINDS, start=time.time() + 4) == [expected] * len(KINDS)
    for i in range(FUNCTIONS):
        assert len(list((tmp_path / "__pycache__").glob(f"kernels.add{i}-*.nbc"))) == len(KINDS)
    for kind in KINDS:
        assert results(tmp_path, kind) == [expected]


@pytest.fixture
def add(tmp_path: Path) -> Callable[[], Any]:
    """Loads a compiled function anew, as another process would."""
    (tmp_path / "kernels.py").write_text(SOURCE)

    def load() -> Any:
        spec = importlib.util.spec_from_file_location("kernels", tmp_path / "kernels.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.add0

    return load


def run(kernel: Any) -> float:
    result = np.zeros(1)
    kernel(np.arange(9, dtype=np.float32), result)
    return float(result[0])


def test_code_is_compiled_once_and_again_when_what_it_may_call_has_changed(
    add: Callable[[], Any], tmp_path: Path
) -> None:
    """A neighbour's file counts: Numba itself looks at the function's own alone."""
    assert run(add()) == 36
    compiling._sources.cache_clear()
    kernel = add()
    assert run(kernel) == 36
    assert kernel.stats.cache_hits.total() == 1
    (tmp_path / "other.py").write_text("NUMBER = 1\n")
    compiling._sources.cache_clear()
    kernel = add()
    assert run(kernel) == 36
    assert kernel.stats.cache_hits.total() == 0


def test_a_cache_that_another_process_holds_is_done_without(
    add: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while: a process may have been stopped in the midst."""
    monkeypatch.setattr(compiling, "LOCK_LIMIT_S", 0.1)
    (tmp_path / "__pycache__").mkdir()
    with FileLock(tmp_path / "__pycache__" / "numba.lock"):
        assert run(add()) == 36
    assert not list((tmp_path / "__pycache__").glob("*.nbc"))
