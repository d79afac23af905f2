"""Remembers what was measured on this machine, in the user's cache directory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.model.messages import first_line

log = logging.getLogger(__name__)


def user_cache_directory(environment: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where the platform wants programs to keep what they can compute again."""
    home = Path(environment.get("HOME") or Path("~").expanduser())
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData/Local") / "crossrank" / "Cache"
    if platform == "darwin":
        return home / "Library/Caches/crossrank"
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "crossrank"


@dataclass(frozen=True, slots=True)
class TuningCache:
    """One JSON file per key in `directory`. A directory that cannot be used is logged and done without."""

    directory: Path

    @classmethod
    def at(cls, directory: str = "") -> TuningCache:
        """In `directory`, or for "" where the platform keeps caches."""
        return cls(Path(directory).expanduser() if directory else user_cache_directory(os.environ))

    def path(self, key: Mapping[str, Any]) -> Path:
        """The file of a key, which must be JSON."""
        name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
        return self.directory / "tuning" / f"{name}.json"

    def read(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """What was kept for exactly this key; empty if nothing was, or if it is unreadable."""
        try:
            kept = json.loads(self.path(key).read_text(encoding="utf-8"))
            return dict(kept["result"]) if kept["key"] == key else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s: not readable (%s); measuring again", self.path(key), first_line(error))
            return {}

    def write(self, key: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keeps `result` in one step, so that a process that starts at the same time reads all of it or nothing."""
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=path.parent, suffix=".tmp", encoding="utf-8", delete=False
            ) as file:
                json.dump({"key": key, "result": result}, file, indent=2)
            Path(file.name).replace(path)
        except OSError as error:
            log.warning("%s: not writable (%s); it is measured again at each start", path.parent, first_line(error))
