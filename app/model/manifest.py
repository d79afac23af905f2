"""`reranker.json`: what an artifact says about itself, and the digests that prove it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.errors import ArtifactError

MANIFEST = "reranker.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of `reranker.json`.

    `files` maps relative paths to {"sha256", "bytes"}; `graphs` maps exported graphs to their precision and
    measured parity with the float32 reference; `provenance` holds data, recipe and metrics.
    """

    max_length: int | None = None
    activation: str | None = None
    labels: list[str] | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    graphs: dict[str, dict[str, Any]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def read_manifest(directory: Path) -> Manifest | None:
    """The directory's manifest, or None where it has none. Raises ArtifactError on a broken or newer one."""
    path = directory / MANIFEST
    if not path.is_file():
        return None
    data = read_json(path)
    if data.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format_version {data.get('format_version')!r} is not {FORMAT_VERSION}; upgrade crossrank"
        )
    try:
        return Manifest(**data)
    except TypeError as error:
        raise ArtifactError(f"{path}: {error}; export the model again") from error


def write_manifest(directory: Path, manifest: Manifest, files: Iterable[str]) -> Manifest:
    """Writes `reranker.json` last and in one step, with the digests of `files`, and returns it."""
    digests = {name: digest(directory / name) for name in sorted(files)}
    whole = Manifest(**{**asdict(manifest), "files": digests})
    temporary = directory / f".{MANIFEST}.tmp"
    temporary.write_text(json.dumps(asdict(whole), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(directory / MANIFEST)
    return whole


def verify(directory: Path, manifest: Manifest, needed: Iterable[str]) -> None:
    """Raises ArtifactError if one of the `needed` files is not, byte for byte, the one the manifest describes."""
    for name in needed:
        expected = manifest.files.get(name)
        if expected is not None and digest(directory / name) != expected:
            raise ArtifactError(
                f"{directory / name}: differs from its digest in {MANIFEST}, the copy is incomplete or changed; "
                "copy or export the model again"
            )


def digest(path: Path) -> dict[str, Any]:
    """{"sha256": hex, "bytes": size} of one file."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ArtifactError naming the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: missing; it is needed to load the model") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error}); save the model again") from error
    if not isinstance(data, dict):
        raise ArtifactError(f"{path}: holds {type(data).__name__}, not an object; save the model again")
    return data
