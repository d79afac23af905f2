"""Names of classes, quiet blocks, CSV rows."""

from __future__ import annotations

import csv
import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def fullname(obj: Any) -> str:
    """The dotted path of a class, or of an object's class; built-in classes have only their name."""
    cls = obj if isinstance(obj, type) else type(obj)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def import_from_string(dotted_path: str) -> Any:
    """The class or other attribute that a dotted path names; ImportError if there is none."""
    module_path, dot, name = dotted_path.rpartition(".")
    if not dot:
        raise ImportError(f"{dotted_path!r} is no dotted path of a module and a name in it")
    try:
        return getattr(importlib.import_module(module_path), name)
    except AttributeError as error:
        raise ImportError(f"module {module_path!r} has no {name!r}") from error


@contextmanager
def disable_datasets_caching() -> Iterator[None]:
    """Switches the cache of `datasets` off meanwhile."""
    import datasets

    was_enabled = datasets.is_caching_enabled()
    datasets.disable_caching()
    try:
        yield
    finally:
        if was_enabled:
            datasets.enable_caching()


@contextmanager
def disable_logging(highest_level: int = logging.CRITICAL) -> Iterator[None]:
    """Drops log records up to `highest_level` meanwhile."""
    previous = logging.root.manager.disable
    logging.disable(highest_level)
    try:
        yield
    finally:
        logging.disable(previous)


def append_to_last_row(csv_path: str | Path, additional_data: Sequence[Any]) -> bool:
    """Adds cells to the last row of a CSV file; False, and nothing done, if it has no row below its header."""
    with Path(csv_path).open(newline="", encoding="utf-8") as file:
        rows: list[list[Any]] = list(csv.reader(file))
    if len(rows) < 2:
        return False
    rows[-1].extend(additional_data)
    with Path(csv_path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return True
