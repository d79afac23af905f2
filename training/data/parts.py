"""A table in one file or in many, taken one after another so that only one is in memory."""

from __future__ import annotations

from pathlib import Path

from training.data.tables import HUB_PREFIX, SUFFIXES
from training.errors import DataError


def table_parts(source: str) -> list[str]:
    """The files of a pattern such as pairs/*.parquet, or of a directory of such files, by name; else `source` alone.

    Raises DataError where there is none.
    """
    path = Path(source)
    if source.startswith(HUB_PREFIX) or "://" in source or path.is_file():
        return [source]
    if path.is_dir():
        found = [each for each in sorted(path.iterdir()) if each.is_file() and _suffix(each) in SUFFIXES]
        is_saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))  # by `datasets`
        return [source] if is_saved or not found else [str(each) for each in found]
    if not is_pattern(source):
        return [source]
    found = matching(path)
    if not found:
        raise DataError(f"{source}: no file fits the pattern; correct it, and quote it for the shell")
    return [str(each) for each in found]


def is_pattern(text: str) -> bool:
    """Whether it may name several files."""
    return any(sign in text for sign in "*?[")


def matching(pattern: Path) -> list[Path]:
    """What there is that fits, by name."""
    return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()
