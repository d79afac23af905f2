"""Module paths of sentence-transformers that are laid out differently here.

Two rules, applied only to imports below `training`:
- a path, or the head of a path, in `MOVED` leads to the module that it maps to;
- a public class imported like a module (`from training.cross_encoder.CrossEncoder import CrossEncoder`, as all
  classes were imported before 2025) leads to the module that defines the class.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "training.base.evaluation": "training.evaluation",
    "training.base.modules": "training.cross_encoder.modules",
    "training.base.modules.dense": "training.sentence_transformer.modules.dense",
    "training.base.modules.module": "training.sentence_transformer.modules.module",
    "training.base.modules.normalize": "training.sentence_transformer.modules.normalize",
    "training.base.peft_mixin": "training.cross_encoder.peft_adapters",
    "training.base.sampler": "training.sampler",
    "training.cross_encoder.fit_mixin": "training.cross_encoder.fit",
    "training.models": "training.sentence_transformer.modules",
    "training.peft_mixin": "training.cross_encoder.peft_adapters",
    "training.quantization": "training.util.quantization",
    "training.readers.input_example": "training.input_example",
    "training.sentence_transformer.datasets": "training.datasets",
    "training.sentence_transformer.evaluation": "training.evaluation",
    "training.sentence_transformer.readers": "training.readers",
    "training.sentence_transformer.readers.input_example": "training.input_example",
    "training.sentence_transformer.training_args": "training.training_args",
    "training.similarity_functions": "training.util.similarity",
    "training.util.dataset": "training.util.id_join",
    "training.util.logging": "training.logging_handler",
}


def target(path: str) -> str | None:
    """The real module behind a moved path; None if the path was not moved."""
    head, tail = path, ""
    while head.startswith("training."):
        if head in MOVED:
            return MOVED[head] + tail
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return class_module(path)


def class_module(path: str) -> str | None:
    """The module of the class that a path names in its package, or None."""
    parent, _, name = path.rpartition(".")
    if not parent or not name[0].isupper():
        return None
    found = getattr(sys.modules[parent], name, None)
    return found.__module__ if isinstance(found, type) and found.__module__ != path else None


class MovedLoader(Loader):
    """Puts the real module in the place of the moved one."""

    def __init__(self, real: str) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary empty module, to be replaced."""

    def exec_module(self, module: ModuleType) -> None:
        """Imports the real module; an import leaves in the end what stands in `sys.modules`."""
        parent = sys.modules[module.__name__.rpartition(".")[0]]
        if type(parent) is ModuleType:
            parent.__class__ = Package
        sys.modules[module.__name__] = importlib.import_module(self.real)


class Package(ModuleType):
    """A package whose public class keeps its name when a module is imported under the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        """Sets an attribute; the class of a moved module goes before the module."""
        moved = isinstance(value, ModuleType) and value.__name__ != f"{self.__name__}.{name}"
        super().__setattr__(name, getattr(value, name, value) if moved else value)


class MovedFinder(MetaPathFinder):
    """Finds moved modules; it stands first, or a moved package would be searched as a folder and loaded twice."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a moved module, None for any other."""
        if not fullname.startswith("training."):
            return None
        real = target(fullname)
        return None if real is None else ModuleSpec(fullname, MovedLoader(real))


def install() -> None:
    """Makes the old paths importable."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedFinder())
