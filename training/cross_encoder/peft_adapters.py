"""Adapters (LoRA and its kin) whose classification head is trained, saved and restored with them."""

from __future__ import annotations

import copy
import logging
from importlib.util import find_spec
from typing import Any

from torch import nn

from training.cross_encoder.modules.setup import CLASSIFICATION, Setup

logger = logging.getLogger(__name__)


def head_modules(model: Any, fresh: tuple[str, ...] = (), task: str = CLASSIFICATION) -> list[str]:
    """Names of the modules that a reload would draw anew: a classifier's outside the encoder, and what no file held.

    `fresh` names parameters that were not in the checkpoint (a pooler, for instance, of an encoder without one).
    """
    owners = [name.rpartition(".")[0] for name in fresh]
    if task != CLASSIFICATION:
        return list(dict.fromkeys(owners))
    prefix = model.base_model_prefix
    weighted = [name for name, child in model.named_children() if next(child.parameters(), None) is not None]
    outside = [name for name in weighted if name != prefix]
    return list(dict.fromkeys([*outside, *(name for name in owners if name.startswith(f"{prefix}."))]))


class PeftAdapterMixin:
    """Adapter methods of transformers on the model inside, and one thing more: the head is part of the adapter."""

    model: Any
    fresh_parameters: tuple[str, ...]
    setup: Setup

    def has_peft_compatible_model(self) -> bool:
        """Whether the model inside can carry adapters."""
        from transformers.integrations import peft

        return isinstance(self.model, peft.PeftAdapterMixin)

    def check_peft_compatible_model(self) -> None:
        """Raises ValueError unless the model inside can carry adapters, ImportError without PEFT."""
        require_peft("an adapter")
        if not self.has_peft_compatible_model():
            raise ValueError("adapters need a transformers model; load it with backend='torch'")

    def add_adapter(self, adapter_config: Any, adapter_name: str | None = None) -> None:
        """Adds a fresh adapter and makes it the one that is trained, together with the classification head.

        The head joins `modules_to_save` of the configuration unless that is set already: without it the head would
        neither be trained nor saved, and reloading would give a random one.
        """
        self.check_peft_compatible_model()
        if getattr(adapter_config, "modules_to_save", ()) is None:
            adapter_config = copy.deepcopy(adapter_config)
            adapter_config.modules_to_save = head_modules(self.model, self.fresh_parameters, self.setup.task)
            logger.info("trained and saved beside the adapter: %s", ", ".join(adapter_config.modules_to_save))
        self.model.add_adapter(adapter_config, adapter_name=adapter_name)

    def load_adapter(self, *args: Any, **kwargs: Any) -> Any:
        """Loads an adapter from a directory or the Hub; arguments as in transformers."""
        return self._inner().load_adapter(*args, **kwargs)

    def set_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Makes one adapter (or a list of them) the active one."""
        self._inner().set_adapter(*args, **kwargs)

    def delete_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Removes adapters by name."""
        self._inner().delete_adapter(*args, **kwargs)

    def enable_adapters(self) -> None:
        """Scores with the adapters again, their head included (which transformers forgets)."""
        from peft.utils import ModulesToSaveWrapper

        inner = self._inner()
        inner.enable_adapters()
        for module in inner.modules():
            if isinstance(module, ModulesToSaveWrapper):
                module.enable_adapters(enabled=True)

    def disable_adapters(self) -> None:
        """Scores with the base model alone, its head included."""
        self._inner().disable_adapters()

    def active_adapters(self) -> list[str]:
        """Names of the active adapters."""
        names: list[str] = self._inner().active_adapters()
        return names

    def active_adapter(self) -> str:
        """Name of the first active adapter."""
        return self.active_adapters()[0]

    def get_adapter_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Weights of an adapter, by default the active one."""
        state: dict[str, Any] = self._inner().get_adapter_state_dict(*args, **kwargs)
        return state

    def _inner(self) -> Any:
        self.check_peft_compatible_model()
        return self.model


def has_peft() -> bool:
    """Whether PEFT is installed."""
    return find_spec("peft") is not None


def require_peft(purpose: str) -> None:
    """Raises ImportError, naming the remedy, where PEFT is not installed."""
    if not has_peft():
        raise ImportError(f"{purpose} needs PEFT, which is not installed: pip install 'crossrank[peft]'")


def carries_adapter(model: nn.Module) -> bool:
    """Whether saving `model` writes an adapter rather than the whole model."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))
