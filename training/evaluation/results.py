"""What evaluators leave behind: rows of CSV files, and words for the log."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.util.distributed import get_rank


def append_row(
    directory: str | os.PathLike[str], name: str, headers: Sequence[str], row: Sequence[Any], line_end: str = "\r\n"
) -> None:
    """Adds a row to a CSV file, which gets its headers when it is made. Of several processes the first writes."""
    if get_rank() != 0:
        return
    path = Path(directory, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=line_end)
        if is_new:
            writer.writerow(headers)
        writer.writerow(row)


def file_name(kind: str, name: str, ending: str = "_results.csv") -> str:
    """`KIND[_NAME]ENDING`."""
    return kind + (f"_{name}" if name else "") + ending


def moment(epoch: float, steps: int) -> str:
    """When in training an evaluation takes place, to be put behind a sentence."""
    if epoch == -1:
        return ""
    return f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch} after {steps} steps"


def wants_progress(show_progress_bar: bool | None, logger: logging.Logger) -> bool:
    """Without a wish, progress is shown to those who also read the log at INFO or DEBUG."""
    if show_progress_bar is not None:
        return show_progress_bar
    return logger.getEffectiveLevel() in (logging.INFO, logging.DEBUG)
