"""Reads a model directory: everything that is known about a model before a runtime loads its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ArtifactError
from app.model.activations import ACTIVATIONS, DOTTED_PATHS
from app.model.manifest import Manifest, read_json, read_manifest, verify
from app.model.messages import first_line
from app.model.types import FloatArray, Side

DEFAULT_DIRECTORY = Path(__file__).parent / "default"
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "longformer"}
"""Model types whose position ids start after the pad id, which costs them that many positions."""
UNLIMITED = 1_000_000
"""Tokenizers without a limit of their own write a huge number as `model_max_length`."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A checked model directory. `labels` are in logit order; `max_length` counts tokens of a whole pair."""

    directory: Path
    config: dict[str, Any]
    manifest: Manifest | None
    labels: tuple[str, ...]
    multi_label: bool
    max_length: int
    pad_id: int
    segments: bool
    activation: str
    truncation_side: Side = "right"

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @property
    def tokenizer_file(self) -> Path:
        return self.directory / "tokenizer.json"

    def files(self) -> list[str]:
        """Every file of the directory, relative, in alphabetical order."""
        return sorted(
            path.relative_to(self.directory).as_posix() for path in self.directory.rglob("*") if path.is_file()
        )

    def digest(self) -> str:
        """Changes with any file: by its digest in the manifest, or by its size and time where that lists none."""
        known = self.manifest.files if self.manifest is not None else {}
        states = [
            known[name]["sha256"] if name in known else f"{name}:{_state(self.directory / name)}"
            for name in self.files()
        ]
        return hashlib.blake2b("\n".join(states).encode(), digest_size=12).hexdigest()

    def require(self, name: str) -> Path:
        """Path of a file inside the artifact, digest checked. Raises ArtifactError if missing or different."""
        path = self.directory / name
        if not path.is_file():
            raise ArtifactError(f"{path}: missing; copy or export the model again")
        if self.manifest is not None:
            verify(self.directory, self.manifest, [name])
        return path


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def read_artifact(directory: Path) -> Artifact:
    """Reads and cross-checks config, tokenizer settings and manifest of a model directory.

    Raises ArtifactError, with the file and the remedy in one line, on anything missing or contradictory.
    """
    if not directory.is_dir():
        raise ArtifactError(f"{directory}: no such model directory; check the path")
    try:
        return _read(directory)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(
            f"{directory}: a value in its JSON files has the wrong type ({type(error).__name__}: {first_line(error)}); "
            "save the model again"
        ) from error


def _read(directory: Path) -> Artifact:
    config = read_json(directory / "config.json")
    tokenizer_json = read_json(directory / "tokenizer.json")
    path = directory / "tokenizer_config.json"
    tokenizer_config = read_json(path) if path.is_file() else {}
    manifest = read_manifest(directory)
    if manifest is not None:
        small = ["config.json", "tokenizer.json", "tokenizer_config.json"]
        verify(directory, manifest, [name for name in small if (directory / name).is_file()])
    labels = _labels(directory, config, manifest)
    pad_id = _pad_id(directory, config, tokenizer_json, tokenizer_config)
    return Artifact(
        directory=directory,
        config=config,
        manifest=manifest,
        labels=labels,
        multi_label=config.get("problem_type") == "multi_label_classification",
        max_length=_max_length(directory, config, tokenizer_config, manifest, pad_id),
        pad_id=pad_id,
        segments=_segments(config, tokenizer_config),
        activation=_activation(directory, config, manifest, len(labels)),
        truncation_side="left" if tokenizer_config.get("truncation_side") == "left" else "right",
    )


def _labels(directory: Path, config: dict[str, Any], manifest: Manifest | None) -> tuple[str, ...]:
    id2label = config.get("id2label")
    if id2label is None:  # transformers writes neither where there are its default two
        count = config.get("num_labels", 2)
        names = tuple(f"LABEL_{i}" for i in range(count))
    else:
        try:
            names = tuple(str(id2label[str(i)]) for i in range(len(id2label)))
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f'{directory / "config.json"}: id2label must map "0", "1", ... to names; correct it'
            ) from error
    if not names:
        raise ArtifactError(f"{directory / 'config.json'}: id2label is empty; name at least one label")
    if manifest is not None and manifest.labels is not None and tuple(manifest.labels) != names:
        raise ArtifactError(
            f"{directory / 'reranker.json'}: its {len(manifest.labels)} labels are not the {len(names)} of "
            "config.json; export the model again"
        )
    return names


def _pad_id(
    directory: Path, config: dict[str, Any], tokenizer: dict[str, Any], tokenizer_config: dict[str, Any]
) -> int:
    pad_token = tokenizer_config.get("pad_token")
    if isinstance(pad_token, dict):
        pad_token = pad_token.get("content")
    ids = {entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens", [])}
    found = ids.get(pad_token)
    if found is None and isinstance(tokenizer.get("padding"), dict):
        found = tokenizer["padding"].get("pad_id")
    declared = config.get("pad_token_id")
    if found is not None and declared is not None and int(found) != int(declared):
        raise ArtifactError(
            f"{directory / 'config.json'}: pad_token_id is {declared} but the tokenizer pads with {found} "
            f"({pad_token!r}); correct the file that is wrong"
        )
    return int(next((value for value in (found, declared) if value is not None), 0))


def _max_length(
    directory: Path,
    config: dict[str, Any],
    tokenizer_config: dict[str, Any],
    manifest: Manifest | None,
    pad_id: int,
) -> int:
    positions = config.get("max_position_embeddings")
    if positions is not None and config.get("model_type") in OFFSET_POSITIONS:
        positions -= pad_id + 1
    wanted = manifest.max_length if manifest is not None else None
    limits = [wanted, tokenizer_config.get("model_max_length"), positions]
    known = [int(limit) for limit in limits if limit is not None and limit < UNLIMITED]
    if wanted is not None and positions is not None and wanted > positions:
        raise ArtifactError(
            f"{directory / 'reranker.json'}: max_length {wanted} is over the model's {positions} positions"
        )
    limit = wanted if wanted is not None else min(known, default=512)
    if not isinstance(limit, int) or limit < 1:
        raise ArtifactError(
            f"{directory}: its limit of {limit!r} tokens is not a positive integer; save the model again"
        )
    return limit


NO_SEGMENTS = ("Roberta", "Camembert", "ModernBert", "DistilBert", "MPNet")
"""Tokenizer classes of models that take no token type ids, for directories that do not list their inputs."""


def _segments(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> bool:
    """Whether type ids matter to the model: it has more than one of them, and its tokenizer makes them."""
    types = config.get("type_vocab_size")
    if types is not None and types < 2:
        return False
    inputs = tokenizer_config.get("model_input_names")
    if inputs is not None:
        return "token_type_ids" in inputs
    if any(name in tokenizer_config.get("tokenizer_class", "") for name in NO_SEGMENTS):
        return False
    return types is not None or config.get("model_type") == "bert"


def _activation(directory: Path, config: dict[str, Any], manifest: Manifest | None, num_labels: int) -> str:
    """Manifest first, then the three places where sentence-transformers wrote it, else sigmoid for one label."""
    path = directory / "config_sentence_transformers.json"
    library = read_json(path) if path.is_file() else {}
    found = (
        (manifest.activation if manifest is not None else None)
        or (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or library.get("activation_fn")
    )
    if found is None:
        return "sigmoid" if num_labels == 1 else "identity"
    name = DOTTED_PATHS.get(found, found)
    if name not in ACTIVATIONS:
        raise ArtifactError(
            f"{directory}: unknown activation {found!r}; set one of {', '.join(ACTIVATIONS)} in reranker.json"
        )
    return str(name)


def check_logits(artifact: Artifact, logits: FloatArray, rows: int, source: str) -> None:
    """Raises ArtifactError unless a probe forward gave `num_labels` finite logits for each of its rows."""
    where = artifact.directory / source
    if logits.shape != (rows, artifact.num_labels):
        raise ArtifactError(
            f"{where}: gives logits of shape {logits.shape} for {rows} rows, but config.json names "
            f"{artifact.num_labels} label(s); export the model again"
        )
    if not np.isfinite(logits).all():
        raise ArtifactError(f"{where}: gives logits that are not finite; use a higher precision or other weights")
