"""Normalised embeddings of queries and documents, from files where they were made before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from app.model.types import FloatArray
from training.mining.fingerprint import model_digest, texts_digest
from training.mining.positives import Texts
from training.whole_file import whole_file


@dataclass(frozen=True, eq=False)
class Side:
    """Texts of one side and the prompt before them; a model with `encode_query` or `encode_document` is asked there."""

    kind: Literal["query", "corpus"]
    texts: Texts
    prompt_name: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Encoding:
    """How texts are encoded: `devices` True for a pool on all of them, or a list of them; files in `cache_folder`."""

    batch_size: int = 32
    devices: list[str] | bool = False
    cache_folder: Path | None = None
    verbose: bool = True


def embeddings(model: Any, sides: list[Side], encoding: Encoding) -> list[FloatArray]:
    """One array (texts, dimension) per side, rows of length 1."""
    files = [None] * len(sides) if encoding.cache_folder is None else _files(model, sides, encoding.cache_folder)
    found = [_loaded(file, encoding.verbose) for file in files]
    if all(array is not None for array in found):
        return [array for array in found if array is not None]
    with pool_of(model, encoding.devices) as pool:
        return [
            _encoded(model, side, file, pool, encoding) if array is None else array
            for array, side, file in zip(found, sides, files, strict=True)
        ]


@contextmanager
def pool_of(model: Any, devices: list[str] | bool) -> Iterator[Any]:
    """A pool of processes of the model meanwhile, None if no devices are asked for."""
    if not devices:
        yield None
        return
    pool = model.start_multi_process_pool(target_devices=None if devices is True else devices)
    try:
        yield pool
    finally:
        model.stop_multi_process_pool(pool)


def _encoded(model: Any, side: Side, file: Path | None, pool: Any, encoding: Encoding) -> FloatArray:
    name = {"query": "encode_query", "corpus": "encode_document"}[side.kind]
    encode = getattr(model, name, model.encode)
    options: dict[str, Any] = {"batch_size": encoding.batch_size, "show_progress_bar": encoding.verbose}
    if pool is not None:
        options["pool"] = pool
    if side.prompt is not None or side.prompt_name is not None:
        options.update(prompt=side.prompt, prompt_name=side.prompt_name)
    rows = encode(side.texts.to_pylist(), normalize_embeddings=True, convert_to_numpy=True, **options)
    array = np.asarray(rows, dtype=np.float32)
    if file is not None:
        with whole_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, array)
        _say(f"[Cache] Saved {side.kind} embeddings to {file}", encoding.verbose)
    return array


def _files(model: Any, sides: list[Side], folder: Path) -> list[Path | None]:
    """Where each side's embeddings lie: named after the content of model and texts, and the prompt."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = model_digest(model)
    files: list[Path | None] = []
    for side in sides:
        key = json.dumps([digest, side.kind, side.prompt, side.prompt_name, texts_digest(side.texts)])
        files.append(folder / f"{side.kind}_embeddings_{hashlib.sha256(key.encode()).hexdigest()}.npy")
    return files


def _loaded(file: Path | None, verbose: bool) -> FloatArray | None:
    """The array of a file, mapped into memory; None if there is no file."""
    if file is None or not file.is_file():
        return None
    array: FloatArray = np.load(file, mmap_mode="r")
    _say(f"[Cache] Loaded embeddings from {file} (shape={array.shape})", verbose)
    return array


def _say(text: str, verbose: bool) -> None:
    if verbose:
        print(text)
