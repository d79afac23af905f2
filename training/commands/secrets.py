"""Recipes as they may be written down where others read them."""

from __future__ import annotations

import re
from typing import Any

from training.recipe import Recipe

_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")


def without_secrets(recipe: Recipe, **options: Any) -> dict[str, Any]:
    """The recipe for JSON, without passwords in database URLs and without tokens; `options` as of `model_dump`."""
    values = recipe.model_dump(mode="json", **options)
    for dataset in values["datasets"]:
        if dataset.get("connection"):
            dataset["connection"] = _PASSWORD.sub(r"\1:***@", dataset["connection"])
    arguments = values.get("arguments", {})
    values["arguments"] = {name: value for name, value in arguments.items() if not name.endswith("_token")}
    return values
