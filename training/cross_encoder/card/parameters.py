"""How losses and evaluators are shown: their name and the parameters they were made with."""

from __future__ import annotations

import inspect
import json
import logging
from typing import Any

from training.cross_encoder.card.markdown import fence

logger = logging.getLogger(__name__)
OURS = "training."


def full_name(thing: object) -> str:
    """Class (or function) and where it lives; of our own, the bare name."""
    kind = thing if inspect.isclass(thing) or inspect.isroutine(thing) else type(thing)
    name = str(getattr(kind, "__qualname__", kind))
    module = str(getattr(kind, "__module__", ""))
    return name if module in ("builtins", "__main__") or module.startswith(OURS) else f"{module}.{name}"


def parameters(thing: object) -> str:
    """The JSON of `thing.get_config_dict()`, or "" where it has none, or an empty one, or it fails."""
    if not hasattr(thing, "get_config_dict"):
        return ""
    try:
        config = thing.get_config_dict()
        return json.dumps(config, indent=4, default=_plain, ensure_ascii=False) if config else ""
    except Exception as error:  # a user's own class: the card does without
        logger.warning("Model card: no parameters of %s: %s", full_name(thing), error)
        return ""


def parameters_block(config: str) -> str:
    return fence(config, "json")


def _plain(value: Any) -> Any:
    """What JSON cannot write: tensors and arrays as lists, modules with their parameters, the rest by name."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "get_config_dict"):
        inner = ", ".join(f"{key}={_shown(item)}" for key, item in value.get_config_dict().items())
        return f"{full_name(value)}({inner})"
    if inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "forward"):
        return full_name(value)
    return list(value) if isinstance(value, set | frozenset) else str(value)


def _shown(value: Any) -> str:
    return repr(value if isinstance(value, str | int | float | bool | None) else _plain(value))
