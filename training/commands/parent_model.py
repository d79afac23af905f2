"""The cross-encoder that a recipe starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from app.errors import ArtifactError, ConfigError
from app.model.artifact import OFFSET_POSITIONS
from app.model.manifest import read_json
from training.cross_encoder.model import CrossEncoder
from training.cross_encoder.model_card import CrossEncoderModelCardData
from training.parent import LABEL, resolve_parent
from training.recipe import Recipe
from training.recipe_sections import HUB_PREFIX

PARENT_FILES = ("*.json", "*.safetensors", "*.txt")
DROPOUT_KEYS = ("attention_probs_dropout_prob", "attention_dropout")
"""What configurations call the dropout of attention."""


def parent_directory(name: str) -> Path:
    """Where the parent lies; one written hub:owner/name is fetched. Raises ArtifactError."""
    if not name.startswith(HUB_PREFIX):
        return resolve_parent(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name.removeprefix(HUB_PREFIX), allow_patterns=list(PARENT_FILES)))
    except Exception as error:  # no such model, no network, no right to it: the Hub's words say which
        raise ArtifactError(f"parent {name!r}: cannot be fetched from the Hub ({error})") from error


def load_parent(recipe: Recipe, directory: Path) -> CrossEncoder:
    """The encoder in float32 under a head of `num_labels`: new from the seed, unless the parent has one like it.

    Raises ArtifactError or ConfigError.
    """
    config = read_json(directory / "config.json")
    _check_length(recipe, config, directory)
    try:
        model = CrossEncoder(
            str(directory),
            num_labels=recipe.num_labels,
            max_length=recipe.max_length,
            seed=recipe.seed,
            activation_fn=nn.Sigmoid() if recipe.num_labels == 1 else nn.Identity(),
            config_kwargs=_config_changes(recipe, config),
            model_kwargs={"ignore_mismatched_sizes": True},
            model_card_data=_card(recipe),
            local_files_only=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"parent {recipe.parent!r}: cannot be loaded ({error}); copy or fetch it again") from error
    if len(model.tokenizer) <= len(model.tokenizer.all_special_tokens):
        raise ArtifactError(
            f"parent {recipe.parent!r}: its tokenizer knows no words; add its tokenizer.json to {directory}"
        )
    return model


def _check_length(recipe: Recipe, config: dict[str, Any], directory: Path) -> None:
    positions = config.get("max_position_embeddings")
    if positions is None or positions < 1:
        return
    if config.get("model_type") in OFFSET_POSITIONS:
        positions -= (config.get("pad_token_id") or 0) + 1
    for key in ("max_length", "serving_max_length"):
        if getattr(recipe, key) > positions:
            raise ConfigError(f"key {key!r}: {directory} has {positions} positions; set it to {positions} or less")


def _config_changes(recipe: Recipe, config: dict[str, Any]) -> dict[str, Any]:
    labels = label_names(recipe, config)
    changes: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    if recipe.attention_dropout is not None:
        changes[next((key for key in DROPOUT_KEYS if key in config), DROPOUT_KEYS[0])] = recipe.attention_dropout
    return changes


def label_names(recipe: Recipe, config: dict[str, Any]) -> list[str]:
    """The recipe's own, else the parent's if it has as many, else numbered ones."""
    if recipe.labels is not None:
        return list(recipe.labels)
    if recipe.num_labels == 1:
        return [LABEL]
    theirs = list((config.get("id2label") or {}).values())
    return theirs if len(theirs) == recipe.num_labels else [f"LABEL_{i}" for i in range(recipe.num_labels)]


def _card(recipe: Recipe) -> CrossEncoderModelCardData:
    return CrossEncoderModelCardData(
        model_name=recipe.output.name,
        local_files_only=True,
        generate_widget_examples=False,  # not at every checkpoint
    )
