"""The losses of a training run and the papers to cite for them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.cross_encoder.card.markdown import joined
from training.cross_encoder.card.parameters import full_name, parameters


@dataclass(frozen=True)
class LossFacts:
    """Name and parameters (JSON, or "") of a loss."""

    name: str
    config: str


def facts_of_loss(loss: Any) -> LossFacts | None:
    return None if loss is None else LossFacts(full_name(loss), parameters(loss))


def losses_of(loss: Any) -> list[Any]:
    """The loss, or those of a mapping by dataset, and the losses they wrap as `.loss`; each once."""
    open_losses = list(loss.values()) if isinstance(loss, Mapping) else [loss]
    found: list[Any] = []
    while open_losses:
        one = open_losses.pop(0)
        if one is None or any(one is other for other in found):
            continue
        found.append(one)
        inner = getattr(one, "loss", None)
        if callable(inner) and not inspect.isroutine(inner):
            open_losses.append(inner)
    return found


def citations_of(losses: list[Any]) -> dict[str, str]:
    """BibTeX by the names of the losses that share it."""
    names: dict[str, list[str]] = {}
    for loss in losses:
        citation = getattr(loss, "citation", None)
        if isinstance(citation, str) and citation.strip():
            found = names.setdefault(citation.strip(), [])
            if type(loss).__name__ not in found:
                found.append(type(loss).__name__)
    return {joined(group): citation for citation, group in names.items()}
