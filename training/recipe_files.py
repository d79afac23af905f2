"""Reading a recipe of any command: TOML, `key=value` overrides, and errors that name the key and the remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from app.errors import ConfigError

TABLES = ("datasets", "evaluations")
"""Keys that hold tables."""
Model = TypeVar("Model", bound=BaseModel)


def read_recipe(path: Path, overrides: Sequence[str], kind: type[Model]) -> Model:
    """The recipe in `path` after `key=value` overrides (dotted keys; values in TOML, or plain text).

    Raises ConfigError naming the key and the remedy.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path of the recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    for override in overrides:
        _override(data, override)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error, data, kind)}") from error


def did_you_mean(name: str, known: set[str]) -> str:
    """Words for the most similar of the `known` names, if one is similar."""
    close = get_close_matches(name, sorted(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: write it as key=value, for example epochs=2 or datasets.0.limit=100")
    node: Any = data
    *parents, last = key.split(".")
    try:
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = _value(text)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"override {override!r}: the recipe has no {key!r}; see its sections and indices") from error


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word or path: quoting it in the shell would be a nuisance


def _explain(error: ValidationError, data: dict[str, Any], kind: type[BaseModel]) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in _written(problem["loc"], data))
    if problem["type"] == "extra_forbidden":
        known = {name for section in _sections(kind) for name in section.model_fields}
        return f"unknown key {key!r}{did_you_mean(str(problem['loc'][-1]), known)}; remove it or correct its spelling"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"key {key!r} is missing; add it"
    if problem["type"] == "tuple_type":
        message = f"needs a list; write [[{key}]] above each of its tables" if key in TABLES else "needs a list: [...]"
    return f"key {key!r}: {message}" if key else message


def _written(location: Sequence[int | str], data: Any) -> Iterator[int | str]:
    """The parts of a key without those that pydantic adds where a section is one of several kinds."""
    for number, part in enumerate(location):
        if isinstance(data, str | int | float):  # which has no parts: what follows is the kind that it should be of
            return
        if isinstance(data, dict) and part not in data and number + 1 < len(location):
            continue
        yield part
        try:
            data = data[part]
        except (IndexError, KeyError, TypeError):  # a key that is missing, or a value without parts
            data = None


def _sections(kind: Any) -> Iterator[type[BaseModel]]:
    """A section and all that its keys may hold."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from _sections(field.annotation)
    for argument in get_args(kind):
        yield from _sections(argument)
