"""From what the user typed to a directory: a path, `default`, or a Hugging Face Hub id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.errors import ArtifactError
from app.model.artifact import DEFAULT_DIRECTORY
from app.model.messages import first_line

SMALL_FILES = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "reranker.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
]


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Where and how to look for models that are not local.

    `token` None means the Hub library's own login, `endpoint` None its own address.
    """

    revision: str | None = None
    token: str | None = None
    local_files_only: bool = False
    cache_directory: Path | None = None
    endpoint: str | None = None


SelectWeights = Callable[[list[str]], list[str]]
"""Picks, from a repository's file names, the weight files that the chosen backend needs, the decisive one last."""


def resolve(model: str, options: HubOptions, select_weights: SelectWeights) -> Path:
    """The local directory of `model`, downloaded only if it is a Hub id whose files are not in the cache.

    Raises ArtifactError, with the remedy, if it can be found nowhere.
    """
    if model == "default":
        return DEFAULT_DIRECTORY
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ArtifactError(f"{model}: no such model directory; check the path")
    return _cached(model, options, select_weights) or _download(model, options, select_weights)


def _cached(model: str, options: HubOptions, select_weights: SelectWeights) -> Path | None:
    """The cached snapshot if it holds everything that is needed; no network involved."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(
            model, "config.json", revision=options.revision, cache_dir=options.cache_directory
        )
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    found = Path(config).parent
    names = [file.relative_to(found).as_posix() for file in found.rglob("*") if file.is_file()]
    return found if "tokenizer.json" in names and select_weights(names) else None


def _download(model: str, options: HubOptions, select_weights: SelectWeights) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if options.local_files_only or constants.HF_HUB_OFFLINE:
        raise ArtifactError(
            f"{model}: neither a directory nor in the local cache, and downloads are off; give a directory, or "
            "start once with downloads allowed"
        )
    try:
        return _fetch(model, options, select_weights)
    except ArtifactError:
        raise
    except GatedRepoError as error:
        raise ArtifactError(f"{model}: access is restricted; set the hub token of an account with access") from error
    except RevisionNotFoundError as error:
        raise ArtifactError(f"{model}: has no revision {options.revision!r}; check the name") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ArtifactError(
            f"{model}: neither a directory nor a repository that the Hub knows; check the name, or set a hub token "
            "if it is private"
        ) from error
    except Exception as error:  # the Hub library changed its HTTP client twice, and each has its own tree
        raise ArtifactError(
            f"{model}: the Hub could not deliver it ({first_line(error)}); try again, or give a local directory"
        ) from error


def _fetch(model: str, options: HubOptions, select_weights: SelectWeights) -> Path:
    """Downloads what is needed, the decisive file last: so a broken download never looks whole to `_cached`."""
    from huggingface_hub import HfApi, hf_hub_download

    api = HfApi(endpoint=options.endpoint, token=options.token)
    # Not `list_repo_files`: its request is repeated for half a minute where the Hub is down.
    info = api.model_info(model, revision=options.revision)
    names = [file.rfilename for file in info.siblings or []]
    weights = select_weights(names)
    if not weights:
        raise ArtifactError(
            f"{model}: the repository holds no weights for this backend; name its graph, or try another backend"
        )
    for name in ("config.json", "tokenizer.json"):
        if name not in names:
            raise ArtifactError(f"{model}: the repository holds no {name}; save the model with its tokenizer again")
    for name in [*(name for name in SMALL_FILES if name in names), *weights]:
        path = hf_hub_download(
            model,
            name,
            revision=options.revision,
            token=options.token,
            cache_dir=options.cache_directory,
            endpoint=options.endpoint,
        )
    return Path(path).parents[weights[-1].count("/")]
