"""Recipes as they may be written down where others read them."""

from __future__ import annotations

from typing import Any

from training.data.urls import without_password
from training.recipe import Recipe


def without_secrets(recipe: Recipe, **options: Any) -> dict[str, Any]:
    """The recipe for JSON, without passwords in database URLs and without tokens; `options` as of `model_dump`."""
    values = recipe.model_dump(mode="json", **options)
    for source in (*values["datasets"], *values.get("evaluations", ())):
        if source.get("connection"):
            source["connection"] = without_password(source["connection"])
    arguments = values.get("arguments", {})
    values["arguments"] = {name: value for name, value in arguments.items() if not name.endswith("_token")}
    return values
