"""The modules behind the transformer, in the folders of a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from training.cross_encoder.modules.registry import class_of, saved_type
from training.cross_encoder.sources import Source


def load_tail(source: Source, modules: list[dict[str, Any]]) -> dict[str, nn.Module]:
    """By name, all modules of a modules.json but the first. Raises ValueError, naming it, for one that is not known."""
    tail = {}
    for entry in modules[1:]:
        folder = checked_folder(entry.get("path", ""), source)
        try:
            kind = class_of(str(entry.get("type", "")))
        except ValueError as error:
            raise ValueError(f"{source.name}: {error}") from error
        tail[str(entry["name"])] = kind.read(source, folder)
    return tail


def checked_folder(folder: str, source: Source) -> str:
    """The folder, if it is one inside the model. Raises ValueError for a path that leads out of it."""
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError(f"{source.name}: the module path {folder!r} in its modules.json leads out of the model")
    return folder


def save_tail(tail: Mapping[str, nn.Module], path: Path) -> list[dict[str, Any]]:
    """Writes each module into a folder of its own; returns their entries of modules.json."""
    entries = []
    for index, (name, module) in enumerate(tail.items(), start=1):
        folder = f"{index}_{type(module).__name__}"
        (path / folder).mkdir(parents=True, exist_ok=True)
        save: Any = getattr(module, "save", None)
        if save is None:
            raise ValueError(f"module {name} ({type(module).__name__}) cannot be saved: it has no method save(path)")
        save(str(path / folder))
        entries.append({"idx": index, "name": name, "path": folder, "type": saved_type(module)})
    return entries


def restore_tail(tail: Mapping[str, nn.Module], path: Path) -> None:
    """Puts the weights that `save_tail` wrote into `path` back into the modules."""
    from training.sentence_transformer.modules.module import read_weights

    for index, module in enumerate(tail.values(), start=1):
        if module.state_dict():
            module.load_state_dict(read_weights(Source(str(path)), f"{index}_{type(module).__name__}"))
