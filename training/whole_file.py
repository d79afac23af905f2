"""Files that are there in full or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ConfigError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, renamed to it at the end; after an error the old file is there, or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file, so that an interruption leaves the old one or none."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def require_place(option: str, path: Path) -> None:
    """Raises ConfigError naming the command's option if no file can be written at `path`."""
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: no directory {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{option} {path}: {path.parent} is not writable; choose another place")
