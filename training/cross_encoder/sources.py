"""Where a model comes from: a directory, or a repository on the Hub, and single files out of either."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CANONICAL = (
    "albert-",
    "bert-base-",
    "bert-large-",
    "camembert-base",
    "ctrl",
    "distilbert-base-",
    "distilgpt2",
    "distilroberta-base",
    "gpt2",
    "openai-gpt",
    "roberta-base",
    "roberta-large",
    "t5-",
    "transfo-xl-",
    "xlm-clm-",
    "xlm-mlm-",
    "xlm-roberta-base",
    "xlm-roberta-large",
    "xlnet-",
)
"""How the Hub's names without an organisation begin; any other bare name is one of the organisation below."""
ORGANISATION = "cross-encoder"


@dataclass(frozen=True, slots=True)
class Source:
    """A model's place and the way to it. `name` is an existing directory, or a Hub id of the form `owner/name`."""

    name: str
    cache_folder: str | None = None
    revision: str | None = None
    token: bool | str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False

    @property
    def is_local(self) -> bool:
        return Path(self.name).is_dir()

    def hub_kwargs(self) -> dict[str, Any]:
        """What every `from_pretrained` of transformers is told. A directory never leads to the network."""
        return {
            "cache_dir": self.cache_folder,
            "revision": self.revision,
            "token": self.token,
            "local_files_only": self.local_files_only or self.is_local,
            "trust_remote_code": self.trust_remote_code,
        }

    def model_kwargs(self) -> dict[str, Any]:
        """The same for models: transformers looks for an adapter first, and asks the Hub unless told separately."""
        hub = self.hub_kwargs()
        return {**hub, "adapter_kwargs": {name: hub[name] for name in ("cache_dir", "local_files_only")}}

    def elsewhere(self, name: str) -> Source:
        """Another model reached the same way: the base of an adapter. Its revision is its own."""
        return replace(self, name=name, revision=None)

    def file(self, filename: str) -> Path | None:
        """The path of one file, downloaded if need be; None where the model has no such file."""
        if self.is_local:
            path = Path(self.name) / filename
            return path if path.is_file() else None
        return self._from_hub(filename)

    def require(self) -> None:
        """Raises OSError if the model may only come from the local cache and is not there."""
        if self.local_files_only and not any(self.file(name) for name in ("config.json", "adapter_config.json")):
            raise OSError(f"{self.name}: is not in the local cache; load it once with local_files_only=False")

    def json(self, filename: str) -> Any:
        """The content of a JSON file; an empty object where the model has no such file."""
        path = self.file(filename)
        return {} if path is None else json.loads(path.read_text(encoding="utf-8"))

    def _from_hub(self, filename: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:  # LocalEntryNotFoundError, which offline use raises, is an EntryNotFoundError too
            path = hf_hub_download(
                self.name,
                filename,
                revision=self.revision,
                cache_dir=self.cache_folder,
                token=self.token,
                local_files_only=self.local_files_only,
            )
        except EntryNotFoundError:
            return None
        return Path(path)


def locate(name: str | os.PathLike[str]) -> str:
    """The directory or Hub id that a user's `name` means. Raises NotADirectoryError and FileNotFoundError."""
    given = os.fspath(name)
    path = Path(given).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_file():
        raise NotADirectoryError(
            f"{given}: is a file; the model must be a directory that holds one, or an id on the Hugging Face Hub"
        )
    if isinstance(name, Path) or path.is_absolute() or given.startswith((".", "~")) or given.count("/") > 1:
        raise FileNotFoundError(f"{given}: no such model directory; check the path")
    if "/" not in given and not given.lower().startswith(CANONICAL):
        return f"{ORGANISATION}/{given}"
    return given
