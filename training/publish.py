"""Writing a finished artifact: into a temporary directory beside its place, then one rename."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ConfigError
from app.model.manifest import MANIFEST, Manifest, write_manifest

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def require_free(output: Path) -> None:
    """Raises ConfigError if something is already at the place of an artifact."""
    if output.exists():
        raise ConfigError(f"{output}: exists already; remove it, or choose another output")


@contextmanager
def publishing(output: Path) -> Iterator[Path]:
    """A directory to fill; it appears at `output`, whole, when the block ends without an error."""
    require_free(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield draft
        _make_readable(draft)
        draft.rename(output)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _make_readable(directory: Path) -> None:
    """Temporary directories and safetensors files are private to their owner; the service may run as another user."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copies the tokeniser's files, those that exist."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def seal(directory: Path, manifest: Manifest) -> Manifest:
    """Writes the manifest with the digests of all files in `directory`."""
    files = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
    return write_manifest(directory, manifest, [name for name in files if name != MANIFEST])
