"""Downloads."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm.auto import tqdm


class disabled_tqdm(tqdm):  # type: ignore[type-arg]  # noqa: N801 - the name that scripts use
    """A progress bar that never shows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})

    def __delattr__(self, attr: str) -> None:
        # A disabled bar has no lock of its own, which the Hub's client wants to delete.
        if hasattr(self, attr):
            super().__delattr__(attr)


def http_get(url: str, path: str | Path) -> None:
    """Downloads `url` to the file `path`, with a progress bar; folders are made.

    The file appears when it is complete. `urllib.error.HTTPError` (an OSError) if the server refuses, ValueError for
    another scheme than http and https.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"http_get reads http and https, not {url!r}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}_part")
    try:
        with urllib.request.urlopen(url) as response, part.open("wb") as file:  # noqa: S310 - scheme checked above
            size = response.headers.get("Content-Length")
            with tqdm.wrapattr(
                response, "read", total=int(size) if size else None, desc=f"Downloading {path.name}", leave=False
            ) as body:
                shutil.copyfileobj(body, file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
