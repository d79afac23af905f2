"""Vectors of texts on disk, in shards that an interrupted run goes on behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from app.errors import ConfigError
from app.model.types import FloatArray
from training.mining.text_store import Digests

ROWS_PER_SHARD = 2048
"""Texts that an interruption may cost."""
MATRIX, JOURNAL = "vectors.f32", "shards.jsonl"
Encode = Callable[[Sequence[str]], Any]
Apply = Callable[[Encode, Iterable[Sequence[str]]], Iterable[Any]]


@dataclass(frozen=True)
class Shard:
    """Rows `start` to `stop` of a file of vectors: `texts` is the digest of what they stand for, `content` theirs."""

    start: int
    stop: int
    texts: str
    content: str


class Cache:
    """A folder that one run at a time keeps things in: `texts`, `vectors` and `scores`.

    Raises ConfigError if another run is at work in it.
    """

    def __init__(self, folder: Path, limit_bytes: float | None = None) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._in_use: set[Path] = set()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Holds the folder's lock, and first clears away what a killed run left half written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(f"{self.folder}: another run is at work in this cache; wait, or name another") from error
        try:
            for draft in (self.folder / "texts").glob(".*"):
                shutil.rmtree(draft)
            yield
        finally:
            lock.release()

    def size_bytes(self) -> int:
        """Of all files in the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def vectors(
        self,
        texts: Any,
        digests: Digests,
        encode: Encode,
        model: str,
        dimension: int,
        *,
        progress: str | None = None,
        shards_at_once: int = 1,
        apply: Apply = map,
    ) -> FloatArray:
        """One row per text, mapped into memory: those that are known from the file, the others from `encode`.

        `model` stands for everything else that the vectors depend on. `texts` is an Arrow array, `digests` theirs.
        `encode` gets the texts of `shards_at_once` shards: as many as there are processes to share them. `apply` gives
        the vectors of many such groups, in order, and may compute some ahead; each is kept as soon as it is there.
        """
        folder = self.folder / "vectors" / _short(f"{model} {dimension}".encode()) / _short(digests.tobytes())
        self._in_use.add(folder)
        self._make_room(len(digests) * dimension * 4 - _allocated(folder))
        matrix = VectorFile(folder, len(digests), dimension)
        wanted = matrix.missing(digests)
        with tqdm(total=len(digests), desc=progress, unit="text", disable=progress is None) as bar:
            bar.update(len(digests) - sum(shard.stop - shard.start for shard in wanted))
            groups = [wanted[first : first + shards_at_once] for first in range(0, len(wanted), shards_at_once)]
            rows = (
                [text for shard in group for text in texts[shard.start : shard.stop].to_pylist()] for group in groups
            )
            for group, vectors in zip(groups, apply(encode, rows), strict=True):
                found = np.asarray(vectors, dtype=np.float32)
                for shard in group:
                    size = shard.stop - shard.start
                    matrix.write(shard, found[:size])
                    found = found[size:]
                bar.update(sum(shard.stop - shard.start for shard in group))
        return matrix.array

    def _make_room(self, needed: int) -> None:
        """Deletes vectors of earlier runs, least recently used first. Raises ConfigError if that is not enough."""
        if self.limit_bytes is None or needed <= 0:
            return
        old = [path.parent for path in self.folder.glob(f"vectors/*/*/{MATRIX}") if path.parent not in self._in_use]
        old.sort(key=lambda folder: (folder / JOURNAL).stat().st_mtime)
        while self.size_bytes() + needed > self.limit_bytes:
            if not old:
                raise ConfigError(
                    f"{self.folder}: this run needs {readable(self.size_bytes() + needed)} of cache, above "
                    f"cache_limit_gb; raise it, or lower truncate_dim"
                )
            shutil.rmtree(old.pop(0))


class VectorFile:
    """A matrix of float32 in a file, filled shard by shard; a journal beside it says which shards are whole."""

    def __init__(self, folder: Path, rows: int, dimension: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows = rows
        self._dimension = dimension
        with (folder / MATRIX).open("ab") as file:
            file.truncate(rows * dimension * 4)
        (folder / JOURNAL).touch()

    @property
    def array(self) -> FloatArray:
        """The matrix, read from the file when it is looked at: shape (rows, dimension)."""
        return np.memmap(self._folder / MATRIX, dtype=np.float32, mode="r", shape=(self._rows, self._dimension))

    def missing(self, digests: Digests) -> list[Shard]:
        """The shards that are not whole, after copies of equal ones were taken from files of other lists of texts."""
        whole = {(shard.start, shard.texts) for shard in read_journal(self._folder) if self._is_whole(shard)}
        elsewhere: dict[tuple[str, int], tuple[Path, Shard]] | None = None
        left = []
        for start in range(0, self._rows, ROWS_PER_SHARD):
            part = digests[start : start + ROWS_PER_SHARD]
            shard = Shard(start, start + len(part), hashlib.sha256(part.tobytes()).hexdigest(), "")
            if (start, shard.texts) in whole:
                continue
            elsewhere = self._elsewhere() if elsewhere is None else elsewhere
            if not self._copied(shard, elsewhere.get((shard.texts, len(part)))):
                left.append(shard)
        return left

    def write(self, shard: Shard, vectors: FloatArray) -> None:
        """Writes the rows of a shard to the disk, and only then into the journal."""
        if vectors.shape != (shard.stop - shard.start, self._dimension):
            raise ConfigError(f"the model gave vectors of shape {vectors.shape} for {shard.stop - shard.start} texts")
        content = np.ascontiguousarray(vectors).tobytes()
        with (self._folder / MATRIX).open("r+b") as file:
            file.seek(shard.start * self._dimension * 4)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        entry = asdict(Shard(shard.start, shard.stop, shard.texts, _content(content)))
        with (self._folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(entry)}")  # the line break first: a torn last line spoils no other

    def _is_whole(self, shard: Shard) -> bool:
        return shard.stop <= self._rows and _content(self._bytes(self._folder, shard)) == shard.content

    def _bytes(self, folder: Path, shard: Shard) -> bytes:
        with (folder / MATRIX).open("rb") as file:
            file.seek(shard.start * self._dimension * 4)
            return file.read((shard.stop - shard.start) * self._dimension * 4)

    def _elsewhere(self) -> dict[tuple[str, int], tuple[Path, Shard]]:
        folders = [path.parent for path in self._folder.parent.glob(f"*/{JOURNAL}") if path.parent != self._folder]
        return {
            (shard.texts, shard.stop - shard.start): (folder, shard)
            for folder in folders
            for shard in read_journal(folder)
        }

    def _copied(self, shard: Shard, other: tuple[Path, Shard] | None) -> bool:
        if other is None:
            return False
        content = self._bytes(*other)
        if _content(content) != other[1].content:
            return False
        self.write(shard, np.frombuffer(content, dtype=np.float32).reshape(-1, self._dimension))
        return True


def read_journal(folder: Path) -> Iterator[Shard]:
    """The shards that were written to their ends."""
    for line in (folder / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield Shard(**json.loads(line))
        except (ValueError, TypeError):
            continue


def readable(size_bytes: float) -> str:
    """For example 1.5 GB."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.1f} GB"


def _allocated(folder: Path) -> int:
    return (folder / MATRIX).stat().st_size if (folder / MATRIX).is_file() else 0


def _content(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
