"""Files that are there in full or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from app.errors import ConfigError


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file beside its place and renames it, so that an interruption leaves the old one or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def require_place(option: str, path: Path) -> None:
    """Raises ConfigError naming the command's option if no file can be written at `path`."""
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: no directory {path.parent}; create it first")
